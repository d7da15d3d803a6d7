package gvisor

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gvisor.dev/gvisor/runsc/boot"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
	"github.com/moltworker/moltworker/internal/sandbox/sandboxtest"
)

// namespaceEnv turns the test binary into a program that says who it is and
// ends with code 9 on SIGTERM.
const namespaceEnv = "MOLTWORKER_TEST_NAMESPACE"

func TestMain(m *testing.M) {
	Dispatch()
	if sandboxtest.Inside() {
		sandboxtest.Main(m, open)
	}
	if err := EnterUserNamespace(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if os.Getenv(namespaceEnv) != "" {
		os.Exit(inNamespace())
	}
	sandboxtest.Main(m, open)
}

func open(root string) (sandbox.Driver, error) { return New(Options{Root: root}) }

func TestDriver(t *testing.T) {
	prepare(t)
	sandboxtest.Run(t, open)
}

// The same as a user without privileges, in a user namespace of its own.
func TestRootless(t *testing.T) {
	cached := map[string]string{}
	if runsc := prepare(t); dynamic() {
		cached[filepath.Join("moltworker", "gvisor", filepath.Base(runsc))] = runsc
	}
	sandboxtest.AsNobody(t, open, cached)
}

// prepare spares the suite's deadlines what may take minutes, once.
func prepare(t *testing.T) string {
	t.Helper()
	path, err := Prepare(t.Context(), func(message string) { t.Log(message) })
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A program that enters a user namespace is root there and nobody outside;
// signals reach it and its exit code comes back.
func TestEnterUserNamespace(t *testing.T) {
	cmd, said := startInNamespace(t)
	if line, _ := said.ReadString('\n'); line != "uid 0 rootless true\n" {
		t.Errorf("in the namespace: %q", line)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("exit %v, want the inner program's code 9", err)
	}
}

// When the outer process is killed, the inner one does not stay.
func TestNamespaceEndsWithItsMaker(t *testing.T) {
	cmd, said := startInNamespace(t)
	if line, _ := said.ReadString('\n'); line == "" {
		t.Fatal("the inner program said nothing")
	}
	cmd.Process.Kill()
	if rest, err := said.ReadString('\n'); err == nil { // the end of the pipe is the inner program's end
		t.Errorf("the inner program lives and says %q", rest)
	}
	cmd.Wait()
}

func startInNamespace(t *testing.T) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	if os.Geteuid() == 0 {
		const nobody = 65534
		cmd.Path = sandboxtest.Readable(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, bufio.NewReader(out)
}

func inNamespace() int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	fmt.Println("uid", os.Getuid(), "rootless", guestUser().rootless)
	<-terminated
	return 9
}

func TestModuleVersion(t *testing.T) {
	tests := []struct{ file, want string }{
		{"/go/pkg/mod/gvisor.dev/gvisor@v0.0.0-20260905035102-160fafc42237/runsc/cli/maincli/maincli.go", "v0.0.0-20260905035102-160fafc42237"},
		{"gvisor.dev/gvisor@v1.2.3/runsc/main.go", "v1.2.3"},
		{"/src/vendor/gvisor.dev/gvisor/runsc/main.go", "unknown"},
		{"", "unknown"},
	}
	for _, tt := range tests {
		if got := moduleVersion(tt.file); got != tt.want {
			t.Errorf("moduleVersion(%q) = %q, want %q", tt.file, got, tt.want)
		}
	}
	if v := Version(); !strings.HasPrefix(v, "v") {
		t.Errorf("Version = %q: gVisor's version is not known", v)
	}
}

// Only what nobody can change may be kept in the sandbox's kernel.
func TestKeptEntries(t *testing.T) {
	spec := ociSpec(place{}, sandbox.Spec{Mounts: []sandbox.Mount{
		{Source: "/home", Destination: "/home/agent", Private: true, Unchanging: true},
		{Source: "/runtime", Destination: "/opt", ReadOnly: true, Unchanging: true},
		{Source: "/link", Destination: "/run", ReadOnly: true},
		{Source: "/link", Destination: "/run2", ReadOnly: true},
	}}, rootfs.Host{Binds: []string{"/usr"}}, user{}, "")
	hints, err := boot.NewPodMountHints(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"/usr", "/home", "/link"} {
		if m := hints.FindMount(source); m == nil || m.IsSandboxLocal() {
			t.Errorf("the entries of %s are kept", source)
		}
	}
	if m := hints.FindMount("/runtime"); m != nil {
		t.Errorf("the runtime's entries are not kept: %+v", m)
	}
}

func TestDivide(t *testing.T) {
	for _, scratch := range []int64{1 << 20, 512 << 20, 8 << 30} {
		overlay, shm := divide(scratch)
		if overlay+shm != scratch || overlay <= 0 || shm <= 0 || shm > maxSharedMemory {
			t.Errorf("divide(%d) = %d, %d", scratch, overlay, shm)
		}
	}
	if overlay, _ := divide(0); overlay != 0 {
		t.Errorf("divide(0) = %d, want no limit", overlay)
	}
}
