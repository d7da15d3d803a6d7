// Package runtime owns the pinned OpenClaw and the Node that runs it: which
// versions, how they get onto this machine, and whether they are still what was
// installed. One installation serves every agent and every data directory; it
// is shown to sandboxes read-only.
//
// It must not know of agents, sandboxes or configuration. Nothing it downloads
// is run here: packages are fetched by the user's npm with scripts off, checked
// against the embedded lock file, and only ever executed inside a sandbox.
package runtime

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	goruntime "runtime"
)

//go:generate go run ./gen

// The pinned versions. lock/ is generated from them by `go generate`.
const (
	Version     = "2026.9.6"
	NodeVersion = "26.10.0"
)

var (
	//go:embed lock/package.json
	packageJSON []byte
	//go:embed lock/package-lock.json
	lockJSON []byte
	//go:embed lock/sizes.json
	sizesJSON []byte
)

// A Runtime is one complete installation.
type Runtime struct {
	Version     string // of OpenClaw
	NodeVersion string
	Dir         string // host path of the installation
	Node        string // the node executable, relative to Dir
	Entry       string // openclaw.mjs, relative to Dir
	Bin         string // directory of commands (openclaw, node), relative to Dir
	Files       int
	Bytes       int64
}

// NodePath is the node executable's path on the host.
func (r Runtime) NodePath() string { return filepath.Join(r.Dir, r.Node) }

// EntryPath is the path of OpenClaw's entry script on the host.
func (r Runtime) EntryPath() string { return filepath.Join(r.Dir, r.Entry) }

// ID names the pinned runtime: the OpenClaw version and the hash of its lock.
// Two builds with the same ID run the same bytes.
func ID() string { return pinnedRecipe().id() }

// A recipe is what to install: the pinned one, or a small one in tests.
type recipe struct {
	manifest []byte // package.json
	lock     []byte // package-lock.json
	size     size
	cpu      string // npm's name of the architecture
}

// size is what an installation comes to on one architecture.
type size struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func pinnedRecipe() recipe {
	cpu := npmCPU(goruntime.GOARCH)
	var sizes map[string]size
	if err := json.Unmarshal(sizesJSON, &sizes); err != nil {
		panic(fmt.Sprintf("embedded lock/sizes.json: %v", err))
	}
	return recipe{manifest: packageJSON, lock: lockJSON, size: sizes[cpu], cpu: cpu}
}

// npmCPU translates Go's name of an architecture into npm's.
func npmCPU(goarch string) string {
	if goarch == "amd64" {
		return "x64"
	}
	return goarch
}

func (r recipe) id() string {
	sum := sha256.Sum256(r.lock)
	return "openclaw-" + Version + "-" + hex.EncodeToString(sum[:6])
}

// nodePackage is the npm package that carries Node for the recipe's machine.
func (r recipe) nodePackage() string { return "node-linux-" + r.cpu }

func (r recipe) describe(dir string, m *manifest) Runtime {
	return Runtime{
		Version:     Version,
		NodeVersion: NodeVersion,
		Dir:         dir,
		Node:        "node_modules/" + r.nodePackage() + "/bin/node",
		Entry:       "node_modules/openclaw/openclaw.mjs",
		Bin:         "node_modules/.bin",
		Files:       m.files,
		Bytes:       m.bytes,
	}
}
