package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxFile bounds one file of a package, in bytes.
const maxFile = 16 << 20

// fetch downloads a package with npm and returns the files that may be read, by
// name. Its bytes must have the pinned hash, which must be the published one too.
func fetch(s source) (map[string][]byte, error) {
	spec := s.Name + "@" + s.Version
	published, err := npm("", "view", spec, "dist.integrity")
	if err != nil {
		return nil, err
	}
	if got := strings.Trim(strings.TrimSpace(string(published)), "'\""); got != s.Integrity {
		return nil, fmt.Errorf("%s: published with integrity %s, and pinned is %s", spec, got, s.Integrity)
	}
	dir, err := os.MkdirTemp("", "prices-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := npm(dir, "pack", "--silent", spec); err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%s: npm pack left %d files, not one (%v)", spec, len(found), err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum512(data)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != s.Integrity {
		return nil, fmt.Errorf("%s: came with integrity %s, and pinned is %s", spec, got, s.Integrity)
	}
	return unpack(data)
}

func npm(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("npm", args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("npm %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// unpack returns the licence, the description and the data of a package.
func unpack(data []byte) (map[string][]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if !wanted(h.Name) {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(t, maxFile+1))
		if err != nil {
			return nil, err
		}
		if len(b) > maxFile {
			return nil, fmt.Errorf("%s is larger than %d bytes", h.Name, maxFile)
		}
		files[h.Name] = b
	}
}

func wanted(name string) bool {
	switch name {
	case "package/LICENSE", "package/package.json", "package/dist/index.js":
		return true
	}
	return strings.HasPrefix(name, piData) && strings.HasSuffix(name, ".json") && name != piData+".manifest.json"
}
