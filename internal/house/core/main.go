// Command core prints the packages whose tests need neither a sandbox nor
// OpenClaw nor a browser. Those are quick and run under the race detector:
//
//	go test -race $(go run ./internal/house/core)
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const module = "github.com/moltworker/moltworker/"

// heavy are the packages whose presence in a test program makes it slow to
// build under the race detector, or dependent on the machine.
var heavy = []string{
	"gvisor.dev/gvisor/runsc/boot",
	"gvisor.dev/gvisor/runsc/cli/maincli",
	module + "internal/sandbox/sandboxtest",
	module + "internal/openclaw/openclawtest",
	module + "test/browser",
	module + "test/s3server",
}

type goPackage struct {
	ImportPath                string
	Deps                      []string
	TestImports, XTestImports []string
}

func main() {
	packages, err := list()
	if err != nil {
		fmt.Fprintln(os.Stderr, "core:", err)
		os.Exit(1)
	}
	for _, path := range core(packages) {
		fmt.Println(path)
	}
}

// core picks the packages whose test programs hold nothing heavy.
func core(packages []goPackage) []string {
	deps := map[string][]string{}
	for _, p := range packages {
		deps[p.ImportPath] = append(p.Deps, p.ImportPath)
	}
	var light []string
	for _, p := range packages {
		if strings.HasPrefix(p.ImportPath, module+"test/") || strings.HasPrefix(p.ImportPath, module+"bench") {
			continue
		}
		all := deps[p.ImportPath]
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			all = slices.Concat(all, []string{path}, deps[path])
		}
		if !slices.ContainsFunc(all, func(path string) bool { return slices.Contains(heavy, path) }) {
			light = append(light, p.ImportPath)
		}
	}
	return light
}

func list() ([]goPackage, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Deps,TestImports,XTestImports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		packages = append(packages, p)
	}
}
