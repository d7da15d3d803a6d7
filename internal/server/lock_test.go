package server

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/sandbox"
)

func TestSecondUpIsTurnedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on the way")
	lock, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockData(dir)
	if !errors.Is(err, ErrInUse) || remedy.Of(err) == "" {
		t.Errorf("the second got %v", err)
	} else if !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("%q does not say who is first", err)
	}
	lock.Close()
	again, err := lockData(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}

func TestOnlyOurOwnDirectoryIsClosedToOthers(t *testing.T) {
	for name, story := range map[string]struct {
		has  []string
		want os.FileMode
	}{
		"empty":                {nil, 0o700},
		"settings only":        {[]string{".dev.vars"}, 0o700},
		"ours since before":    {[]string{".dev.vars", "agents", "lock"}, 0o700},
		"somebody else's home": {[]string{".profile", "photos"}, 0o755},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, file := range story.has {
				if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			lock, err := lockData(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != story.want {
				t.Errorf("now %v, %v; want %o", info.Mode(), err, story.want)
			}
		})
	}
}

func TestSandboxIDsDiffer(t *testing.T) {
	long := strings.Repeat("a", 40)
	seen := map[string]string{}
	for _, data := range []string{"/one", "/two"} {
		for _, name := range []string{"main", "other", long + "x", long + "y", strings.Repeat("a", 30) + "-b"} {
			id := sandboxID(data, name)
			if err := sandbox.ValidateID(id); err != nil {
				t.Error(err)
			}
			if before, taken := seen[id]; taken {
				t.Errorf("%s in %s and %s share sandbox %s", name, data, before, id)
			}
			seen[id] = name + " in " + data
		}
	}
}
