package runtime

import (
	"strings"
	"testing"
)

// What is embedded must pin every byte and name no place to get it from.
func TestEmbeddedLockPinsEverything(t *testing.T) {
	entries, err := parseLock(lockJSON)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 300 {
		t.Fatalf("only %d packages", len(entries))
	}
	for _, word := range []string{"://", "resolved", "_auth", "git+"} {
		if strings.Contains(string(lockJSON), word) || strings.Contains(string(packageJSON), word) {
			t.Errorf("the lock has %q: run go generate", word)
		}
	}
	for path, e := range entries {
		switch {
		case path == "":
			continue
		case e.Link:
			t.Errorf("%s is a link", path)
		case e.InBundle:
			// Comes inside another package's tarball, which has the hash.
			if e.Integrity != "" || !strings.HasPrefix(path, "node_modules/openclaw/") {
				t.Errorf("%s says that it is bundled", path)
			}
		case !strings.HasPrefix(e.Integrity, "sha512-"):
			t.Errorf("%s has no sha512 hash: %q", path, e.Integrity)
		}
	}
}

func TestEmbeddedLockHasThePinnedVersions(t *testing.T) {
	entries, err := parseLock(lockJSON)
	if err != nil {
		t.Fatal(err)
	}
	if got := entries["node_modules/openclaw"].Version; got != Version {
		t.Errorf("openclaw %s, want %s: run go generate", got, Version)
	}
	for goarch, cpu := range map[string]string{"amd64": "x64", "arm64": "arm64"} {
		r := pinnedRecipe()
		r.cpu = npmCPU(goarch)
		e := entries["node_modules/"+r.nodePackage()]
		if e.Version != NodeVersion || !e.OS.allows("linux") || e.OS.allows("darwin") || !e.CPU.allows(cpu) || e.CPU.allows("ia32") {
			t.Errorf("%s: %+v, want Node %s for linux %s: run go generate", r.nodePackage(), e, NodeVersion, cpu)
		}
	}
}

func TestConditionsOfPackages(t *testing.T) {
	for _, tt := range []struct {
		list  oneOrMany
		value string
		want  bool
	}{
		{nil, "linux", true},
		{oneOrMany{"linux"}, "linux", true},
		{oneOrMany{"darwin", "linux"}, "linux", true},
		{oneOrMany{"darwin"}, "linux", false},
		{oneOrMany{"!win32"}, "linux", true},
		{oneOrMany{"!linux"}, "linux", false},
	} {
		if got := tt.list.allows(tt.value); got != tt.want {
			t.Errorf("%q allows %q = %v", tt.list, tt.value, got)
		}
	}
}
