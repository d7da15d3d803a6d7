package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// InstallOptions says where to install and whom to tell.
type InstallOptions struct {
	CacheDir string         // see [DefaultCacheDir]; shared by all data directories
	Progress func(Progress) // called from one goroutine, at most 4 times a second per phase; may be nil
	Log      *slog.Logger   // may be nil
}

// DefaultCacheDir is where installations are kept: $MOLTWORKER_CACHE, or
// moltworker in the user's cache directory.
func DefaultCacheDir() (string, error) {
	if dir := os.Getenv("MOLTWORKER_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w: set MOLTWORKER_CACHE to a directory", err)
	}
	return filepath.Join(dir, "moltworker"), nil
}

// Install gives the pinned runtime, verified. It installs it first when it is
// not there or no longer what was installed; a damaged installation is left
// alone, because agents may be running from it, and a fresh one is made beside
// it. Any number of processes may call it at once: one installs, the others wait
// and say so.
func Install(ctx context.Context, o InstallOptions) (Runtime, error) {
	return pinnedRecipe().install(ctx, o)
}

func (r recipe) install(ctx context.Context, o InstallOptions) (Runtime, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if r.size.Bytes == 0 {
		return Runtime{}, &Error{Reason: ReasonMachine, Message: "no OpenClaw runtime is pinned for " + r.cpu, Mend: "run moltworker on amd64 or arm64"}
	}
	root := filepath.Join(o.CacheDir, "runtime")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Runtime{}, explainOS(err, root)
	}
	if rt, ok, err := r.current(ctx, root, o); ok || err != nil {
		return rt, err
	}
	lock, err := lockCache(ctx, root, o)
	if err != nil {
		return Runtime{}, err
	}
	defer unlock(lock)
	// Whoever held the lock may have installed it.
	if rt, ok, err := r.current(ctx, root, o); ok || err != nil {
		return rt, err
	}
	rt, err := r.installFresh(ctx, root, lock, o)
	if err != nil {
		return Runtime{}, explainOS(err, root)
	}
	return rt, nil
}

// current is the newest installation of this recipe if it verifies.
func (r recipe) current(ctx context.Context, root string, o InstallOptions) (Runtime, bool, error) {
	n, err := r.newest(root)
	if err != nil || n == 0 {
		return Runtime{}, false, err
	}
	dir := r.generation(root, n)
	o.Progress(Progress{Phase: PhaseVerify, Total: r.size.Bytes})
	m, err := verify(ctx, dir, false)
	var damage *Damage
	if errors.As(err, &damage) {
		o.Log.Warn("refusing the installed OpenClaw runtime; a fresh one is needed", "dir", dir, "damage", damage.Error())
		return Runtime{}, false, nil
	}
	if err != nil {
		return Runtime{}, false, fmt.Errorf("verify OpenClaw runtime: %w", err)
	}
	o.Progress(Progress{Phase: PhaseVerify, Done: m.bytes, Total: m.bytes})
	return r.describe(dir, m), true, nil
}

// generation is the directory of the n-th installation of this recipe.
func (r recipe) generation(root string, n int) string {
	if n == 1 {
		return filepath.Join(root, r.id())
	}
	return filepath.Join(root, r.id()+"-"+strconv.Itoa(n))
}

// newest is the number of the newest generation, 0 when there is none.
func (r recipe) newest(root string) (int, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return 0, fmt.Errorf("list installed runtimes: %w", err)
	}
	newest := 0
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), r.id())
		if !ok || !e.IsDir() {
			continue
		}
		n := 1
		if rest != "" {
			if n, err = strconv.Atoi(strings.TrimPrefix(rest, "-")); err != nil || n < 2 {
				continue
			}
		}
		newest = max(newest, n)
	}
	return newest, nil
}

const stagingPrefix = ".staging-"

// installFresh installs into a staging directory and, when everything in it is
// on disk and recorded, renames it to the next generation. The caller holds lock.
func (r recipe) installFresh(ctx context.Context, root string, lock *os.File, o InstallOptions) (Runtime, error) {
	if err := removeLeftovers(root, o.Log); err != nil {
		return Runtime{}, err
	}
	staging, err := os.MkdirTemp(root, stagingPrefix)
	if err != nil {
		return Runtime{}, err
	}
	defer os.RemoveAll(staging)
	if err := r.download(ctx, staging, lock, o); err != nil {
		return Runtime{}, err
	}
	m, err := seal(ctx, staging, o)
	if err != nil {
		return Runtime{}, err
	}
	n, err := r.newest(root)
	if err != nil {
		return Runtime{}, err
	}
	dir := r.generation(root, n+1)
	if err := os.Rename(staging, dir); err != nil {
		return Runtime{}, err
	}
	if err := syncDir(root); err != nil {
		return Runtime{}, err
	}
	o.Log.Info("installed OpenClaw runtime", "version", Version, "node", NodeVersion, "dir", dir, "files", m.files, "bytes", m.bytes)
	return r.describe(dir, m), nil
}

// removeLeftovers deletes what killed installations left. Nobody else can be
// using it: the caller holds the lock.
func removeLeftovers(root string, log *slog.Logger) error {
	left, err := filepath.Glob(filepath.Join(root, stagingPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		log.Info("removing what an interrupted installation left", "dir", dir)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// lifecycleMarker is in the openclaw package until its own post-install script
// has run. In a fresh, complete installation that script changes nothing but
// this file (the rest of it repairs upgrades and missing optional packages,
// which checkComplete rules out), and while the file exists OpenClaw refuses to
// start from a read-only directory. So we delete it instead of running a
// package's script on the host.
const lifecycleMarker = "node_modules/openclaw/.openclaw-lifecycle-pending"

// hiddenLock is npm's own copy of the lock, with the registry's addresses.
const hiddenLock = "node_modules/.package-lock.json"

func (r recipe) download(ctx context.Context, staging string, lock *os.File, o InstallOptions) error {
	for name, data := range map[string][]byte{"package.json": r.manifest, "package-lock.json": r.lock} {
		if err := os.WriteFile(filepath.Join(staging, name), data, 0o644); err != nil {
			return err
		}
	}
	stop := report(o.Progress, PhaseDownload, r.size.Bytes, func() int64 { return treeBytes(staging) })
	err := r.runNPM(ctx, staging, lock)
	stop()
	if err != nil {
		return err
	}
	if err := r.checkComplete(staging); err != nil {
		return err
	}
	for _, name := range []string{lifecycleMarker, hiddenLock} {
		if err := os.Remove(filepath.Join(staging, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// explainOS gives the common failures of the file system a remedy.
func explainOS(err error, dir string) error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &Error{Reason: ReasonDiskFull, Err: err,
			Message: "the disk filled up while installing OpenClaw",
			Mend:    fmt.Sprintf("free some space for %s, then start again", dir)}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &Error{Reason: ReasonPermission, Err: err,
			Message: fmt.Sprintf("%s cannot be written", dir),
			Mend:    "make it writable for this user, or set MOLTWORKER_CACHE to a directory that is"}
	default:
		return fmt.Errorf("install OpenClaw: %w", err)
	}
}
