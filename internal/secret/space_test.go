package secret

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	dir := os.Getenv("SECRET_TEST_DIR")
	roles := map[string]func(string) error{"putmany": putMany, "fulldisk": onAFullDisk, "smallfiles": withSmallFiles}
	role, ok := roles[os.Getenv("SECRET_TEST_ROLE")]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func TestAFullDiskLosesNothing(t *testing.T) {
	t.Run("file size limit", func(t *testing.T) {
		if out, err := child(t, "smallfiles", t.TempDir()).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("full file system", func(t *testing.T) {
		cmd := child(t, "fulldisk", t.TempDir())
		// In namespaces of its own it may mount, and nothing can be left mounted.
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == exitSkip {
			t.Skipf("no user namespaces here: %v\n%s", err, out)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

const exitSkip = 77

// onAFullDisk fills a tiny file system with secrets until it refuses.
func onAFullDisk(dir string) error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Println("make mounts private:", err)
		os.Exit(exitSkip)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		fmt.Println("mount tmpfs:", err)
		os.Exit(exitSkip)
	}
	return putUntilFull(dir)
}

// withSmallFiles does the same against a limit on the size of files.
func withSmallFiles(dir string) error {
	signal.Ignore(unix.SIGXFSZ)
	limit := unix.Rlimit{Cur: 128 << 10, Max: 128 << 10}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return fmt.Errorf("set the file size limit: %w", err)
	}
	return putUntilFull(dir)
}

func putUntilFull(dir string) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	value := func(i int) string {
		b := make([]byte, 16<<10)
		for j := range b {
			b[j] = byte('a' + rand.New(rand.NewPCG(uint64(i), uint64(j))).IntN(26))
		}
		return string(b)
	}
	kept := 0
	for {
		err := s.Put(fmt.Sprintf("S%d", kept), value(kept))
		if err != nil {
			fmt.Println("refused:", err)
			break
		}
		if kept++; kept == 100 {
			return fmt.Errorf("100 secrets fit, want a refusal")
		}
	}
	if kept == 0 {
		return fmt.Errorf("not one secret fitted")
	}
	for _, store := range []func() (*Store, error){
		func() (*Store, error) { return s, nil },
		func() (*Store, error) { return Open(dir, Options{}) },
	} {
		s, err := store()
		if err != nil {
			return fmt.Errorf("after the refusal: %w", err)
		}
		for i := range kept {
			if v, _, err := s.Get(fmt.Sprintf("S%d", i)); err != nil || v.Reveal() != value(i) {
				return fmt.Errorf("secret %d of %d is lost: %v", i, kept, err)
			}
		}
		if _, _, err := s.Get(fmt.Sprintf("S%d", kept)); err == nil {
			return fmt.Errorf("the refused secret is there")
		}
	}
	if _, err := os.Stat(filepath.Join(dir, sealedName+".tmp")); err == nil {
		return fmt.Errorf("the half-written file is still there")
	}
	if err := s.Remove("S0"); err != nil {
		return fmt.Errorf("remove one to make room: %w", err)
	}
	return s.Put("S0", "small")
}

func putMany(dir string) error {
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	for i := range 8 {
		if err := s.Put(fmt.Sprintf("CHILD_%d", i), "value"); err != nil {
			return err
		}
	}
	return nil
}
