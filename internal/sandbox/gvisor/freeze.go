package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/boot"

	"github.com/moltworker/moltworker/internal/sandbox"
)

var _ sandbox.Freezable = (*Sandbox)(nil)

// haltFile, in a sandbox's directory, says what became of its halting. gVisor
// cannot be asked whether a sandbox is paused, counts the pauses, and crashes
// over one resume too many. So each step is written down before and after; what
// is between the two when nobody holds the file's lock was cut short, and
// nobody can say how far it came.
const haltFile = "halt"

// halt is the content of haltFile.
type halt string

const (
	running  halt = "" // or no file
	pausing  halt = "pausing"
	paused   halt = "paused"
	saving   halt = "saving"
	resuming halt = "resuming"
)

// between says whether something is being done to the sandbox.
func (h halt) between() bool { return h == pausing || h == saving || h == resuming }

// Pause halts everything inside; see [sandbox.Freezable].
func (s *Sandbox) Pause(ctx context.Context) error {
	return s.change(ctx, "pause", func(r *record) error {
		switch r.halt {
		case paused:
			return nil
		case running:
			return r.step(pausing, paused, func() error { return s.call(boot.ContMgrPause, nil) })
		}
		return r.cutShort()
	})
}

// Resume lets it run on; see [sandbox.Freezable].
func (s *Sandbox) Resume(ctx context.Context) error {
	return s.change(ctx, "resume", func(r *record) error {
		switch r.halt {
		case running:
			return nil
		case paused:
			return r.step(resuming, running, func() error { return s.call(boot.ContMgrResume, nil) })
		}
		return r.cutShort()
	})
}

// Checkpoint writes the image of a paused sandbox; see [sandbox.Freezable].
// When ctx ends first, gVisor goes on writing to files that may have been
// removed; a Resume that comes after waits for that.
func (s *Sandbox) Checkpoint(ctx context.Context, dir string) error {
	return s.change(ctx, "checkpoint", func(r *record) error {
		switch {
		case r.halt == running:
			return errors.New("it runs; pause it before")
		case r.halt != paused:
			return r.cutShort()
		}
		return r.step(saving, paused, func() error { return s.writeImage(dir) })
	})
}

// change does something to the sandbox, one thing at a time. It goes on when ctx
// ends first: half a change cannot be taken back, and what comes after waits
// for it.
func (s *Sandbox) change(ctx context.Context, what string, do func(*record) error) error {
	gone := fmt.Errorf("sandbox %s: %w", s.id, sandbox.ErrNotFound)
	select {
	case s.changing <- struct{}{}:
	case <-s.done:
		return gone
	case <-ctx.Done():
		return fmt.Errorf("%s sandbox %s: %w", what, s.id, ctx.Err())
	}
	_, err := ask(ctx, func() (struct{}, error) {
		defer func() { <-s.changing }()
		r, err := s.record()
		if err != nil {
			return struct{}{}, err
		}
		defer r.file.Close()
		return struct{}{}, do(r)
	})
	if err == nil {
		return nil
	}
	if ctx.Err() == nil && (s.ended() || !s.d.place(s.id).owns(s.pid)) {
		return gone
	}
	return fmt.Errorf("%s sandbox %s: %w", what, s.id, err)
}

// call asks the sandbox's kernel for something without an answer.
func (s *Sandbox) call(method string, arg any) error {
	conn, err := s.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Call(method, arg, nil)
}

// A record is a sandbox's haltFile, locked.
type record struct {
	file *os.File
	halt halt
}

// record locks the sandbox's haltFile. The file stays this sandbox's when a
// later one takes its name.
func (s *Sandbox) record() (*record, error) {
	p := s.d.place(s.id)
	file, err := p.openHalt(unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	r := &record{file: file}
	switch {
	case !p.owns(s.pid):
		err = sandbox.ErrNotFound
	case !lock(file):
		err = errors.New("another process is pausing or resuming it")
	default:
		r.halt, err = readHalt(file)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

// step writes down that something is done and, once it has been, the outcome. A
// failed save leaves the sandbox as it was; after any other failure nobody knows.
func (r *record) step(during, after halt, do func() error) error {
	if err := r.write(during); err != nil {
		return err
	}
	err := do()
	if err != nil && during != saving {
		return err
	}
	return errors.Join(err, r.write(after))
}

func (r *record) write(h halt) error {
	// A longer line is overwritten in one go by a line of the same length.
	line := fmt.Sprintf("%-9s\n", h)
	if _, err := r.file.WriteAt([]byte(line), 0); err != nil {
		return fmt.Errorf("write down that the sandbox is %q: %w", h, err)
	}
	r.halt = h
	return nil
}

func (r *record) cutShort() error {
	return fmt.Errorf("an earlier attempt was cut short (%s); it can only be destroyed", r.halt)
}

func (p place) openHalt(flags int) (*os.File, error) {
	dir, err := os.OpenRoot(p.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.OpenFile(haltFile, os.O_RDWR|flags, 0o600)
}

func readHalt(file *os.File) (halt, error) {
	buf := make([]byte, 64)
	n, err := file.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return halt(strings.TrimSpace(string(buf[:n]))), nil
}

// lock takes the lock on an open haltFile; the kernel lets go of it when the
// process ends.
func lock(file *os.File) bool {
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// halfHalted says whether the sandbox in p was left in the middle of being paused,
// saved or resumed by a process that is gone.
func (p place) halfHalted() bool {
	file, err := p.openHalt(0)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		return true
	}
	defer file.Close()
	if !lock(file) {
		return false // somebody is at it
	}
	h, err := readHalt(file)
	return err != nil || h.between() || h != running && h != paused
}
