package sandboxtest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is an unprivileged user that every host has.
const nobody = 65534

// nobodyEnv marks a test binary that was started as nobody.
const nobodyEnv = "MOLTWORKER_TEST_NOBODY"

// AsNobody runs the suite a second time, as a user without privileges: the test
// that calls it is run again, alone, by a copy of the test binary. Each of
// cached is a file that this user's cache has, by its path there.
func AsNobody(t *testing.T, open Opener, cached map[string]string) {
	if os.Getenv(nobodyEnv) != "" {
		Run(t, open)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: the suite ran without privileges already")
	}
	dir := nobodysHome(t, cached)
	args := []string{"-test.run=^" + t.Name() + "$"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.Command(filepath.Join(dir, "sandbox.test"), args...)
	cmd.Dir = dir
	cmd.Env = []string{nobodyEnv + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "XDG_CACHE_HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("as nobody: %v", err)
	}
}

// nobodysHome is a directory of nobody's with the test binary in it.
func nobodysHome(t *testing.T, cached map[string]string) string {
	t.Helper()
	// Not t.TempDir: nobody may not enter the directory that it lies in.
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, filepath.Join(dir, "sandbox.test"))
	for name, from := range cached {
		copyFile(t, from, filepath.Join(dir, name))
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Readable is a copy of the test binary that everybody may run.
func Readable(t *testing.T) string {
	t.Helper()
	return filepath.Join(nobodysHome(t, nil), "sandbox.test")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
