package gvisor

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// runscPackage is built where this binary cannot be gVisor itself.
const runscPackage = "github.com/moltworker/moltworker/internal/sandbox/gvisor/runsc"

// Prepare makes sure that there is a program to run as gVisor and says where.
// That is this one, except when it was linked dynamically, as "go run" and "go
// test" do where a C compiler is installed: gVisor runs itself once more inside
// an empty root, where such a program finds no loader. Then the same gVisor is
// built without cgo, once, into the user's cache; that takes minutes, and notify
// (which may be nil) is told before.
//
// Starting a sandbox does the same; programs call Prepare to have it done at a
// time of their choosing.
func Prepare(ctx context.Context, notify func(message string)) (path string, err error) {
	if !dynamic() {
		return "/proc/self/exe", nil
	}
	building.Lock()
	defer building.Unlock()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = filepath.Join(os.TempDir(), fmt.Sprintf("moltworker-%d", os.Getuid()))
	}
	dir := filepath.Join(cache, "moltworker", "gvisor")
	path = filepath.Join(dir, fmt.Sprintf("runsc-%s-%s-%s", Version(), runtime.Version(), runtime.GOARCH))
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path, nil
	}
	if notify != nil {
		notify("building gVisor without cgo (once, takes some minutes)")
	}
	if err := buildRunsc(ctx, dir, path); err != nil {
		return "", fmt.Errorf("%w: this moltworker was built with cgo, and building gVisor without it failed (%v); build moltworker with CGO_ENABLED=0", sandbox.ErrUnavailable, err)
	}
	return path, nil
}

var building sync.Mutex // held while the cache is looked at or filled

// dynamic says whether this program needs a loader.
var dynamic = sync.OnceValue(func() bool {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
})

func buildRunsc(ctx context.Context, dir, path string) error {
	tool, err := exec.LookPath("go")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	out := filepath.Join(temp, "runsc")
	cmd := exec.CommandContext(ctx, tool, "build", "-ldflags=-s -w", "-o", out, runscPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %.300s", err, strings.TrimSpace(string(said)))
	}
	return os.Rename(out, path)
}
