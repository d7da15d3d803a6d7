package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// roleVariable tells this test program, started by itself, what to be.
const roleVariable = "MOLTWORKER_TEST_DIR_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "writer":
		writeOn(os.Args[1])
	case "full disk":
		onFullDisk(os.Args[1])
	default:
		os.Exit(m.Run())
	}
}

func role(name, dir string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", dir)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	return cmd
}

const writtenSize = 1 << 20

// background is for the roles, which have no test.
var background = context.Background()

// writeOn writes objects until it is killed. Each consists of one byte.
func writeOn(dir string) {
	s, err := Open(dir)
	for i := 0; err == nil; i++ {
		err = s.Put(background, fmt.Sprintf("a/%08d", i), bytes.Repeat([]byte{byte(i)}, writtenSize), i%2 == 0)
		if err == nil {
			fmt.Println(i)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestKilledWhileWriting kills a writer and looks at what it left.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	cmd := role("writer", dir)
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for line := make([]byte, 64); acknowledged < 5; {
		n, err := said.Read(line)
		acknowledged += bytes.Count(line[:n], []byte("\n"))
		if err != nil {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if acknowledged < 5 {
		t.Fatalf("the writer ended after %d objects", acknowledged)
	}
	s := open(t, dir)
	all := names(t, s)
	if len(all) < acknowledged {
		t.Errorf("of %d objects that were acknowledged %d are there", acknowledged, len(all))
	}
	for i, name := range all {
		data, err := s.Get(t.Context(), name, 0, -1)
		if err != nil || !bytes.Equal(data, bytes.Repeat([]byte{byte(i)}, writtenSize)) {
			t.Errorf("%s has %d bytes, %v", name, len(data), err)
		}
	}
}

// TestDiskFull needs a small disk, which it makes in a mount namespace of its own.
func TestDiskFull(t *testing.T) {
	cmd := role("full disk", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit), bytes.Contains(out, []byte("cannot mount")):
		t.Skipf("no namespaces for users here: %v %s", err, out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
}

// onFullDisk is TestDiskFull inside.
func onFullDisk(dir string) {
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		fmt.Println("cannot mount:", err)
		os.Exit(1)
	}
	failed := false
	check := func(ok bool, format string, args ...any) {
		if !ok {
			failed = true
			fmt.Printf(format+"\n", args...)
		}
	}
	s, err := Open(dir)
	check(err == nil, "Open: %v", err)
	check(s.Put(background, "a/old", bytes.Repeat([]byte("o"), writtenSize), false) == nil, "the first object does not fit")
	for _, ifAbsent := range []bool{false, true} {
		for _, name := range []string{"a/new", "b/new"} {
			err := s.Put(background, name, make([]byte, 2*writtenSize), ifAbsent)
			check(errors.Is(err, blob.ErrUnavailable) && remedy.Of(err) != "", "Put on a full disk: %v, want ErrUnavailable with a remedy", err)
		}
	}
	err = s.Put(background, "a/old", make([]byte, 2*writtenSize), false)
	check(errors.Is(err, blob.ErrUnavailable), "Put over an object on a full disk: %v", err)
	data, err := s.Get(background, "a/old", 0, -1)
	check(err == nil && bytes.Equal(data, bytes.Repeat([]byte("o"), writtenSize)), "the old object has %d bytes, %v", len(data), err)
	left, err := filepath.Glob(filepath.Join(dir, drafts, "*"))
	check(err == nil && len(left) == 0, "left: %q, %v", left, err)
	check(s.Put(background, "a/small", []byte("x"), true) == nil, "the room of what failed is not free again")

	err = unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	check(err == nil, "remount: %v", err)
	err = s.Put(background, "a/new", []byte("x"), false)
	check(errors.Is(err, blob.ErrDenied) && remedy.Of(err) != "", "Put on a disk that cannot be written to: %v, want ErrDenied with a remedy", err)
	if failed {
		os.Exit(1)
	}
	os.Exit(0)
}
