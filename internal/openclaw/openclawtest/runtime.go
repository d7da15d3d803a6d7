// Package openclawtest gives tests the real, pinned OpenClaw: its runtime,
// installed once into the user's cache and shared by all packages' tests, and a
// gateway running natively (without a sandbox). It must not be imported by
// anything but tests.
package openclawtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

var shared = sync.OnceValues(func() (runtime.Runtime, error) {
	cache, err := runtime.DefaultCacheDir()
	if err != nil {
		return runtime.Runtime{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	return runtime.Install(ctx, runtime.InstallOptions{CacheDir: cache})
})

// Runtime is the pinned runtime, from $MOLTWORKER_CACHE or the user's cache
// directory, where `moltworker up` keeps it too. It is installed if it is
// missing; a machine that cannot install it fails the test with the reason.
func Runtime(t testing.TB) runtime.Runtime {
	t.Helper()
	rt, err := shared()
	if err != nil {
		t.Fatalf("OpenClaw runtime: %v", err)
	}
	return rt
}
