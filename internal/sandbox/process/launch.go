package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// pollEvery is how often a starting sandbox is looked at.
const pollEvery = 2 * time.Millisecond

// guestKillable is the oom_score_adj of a guest's processes: before any other of
// the host's.
const guestKillable = "900"

// A launch is a bubblewrap process whose PID 1 waits to be let go.
type launch struct {
	cmd     *exec.Cmd
	block   *os.File // PID 1 starts when something is written
	log     *os.File
	logFrom int64 // where this sandbox's words begin
	done    chan struct{}
}

func (d *Driver) launch(p place, spec sandbox.Spec) (*launch, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the sandbox's log: %w", err)
	}
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("open the sandbox's log: %w", err)
	}
	l := &launch{log: log, logFrom: from, done: make(chan struct{})}
	if err := l.run(d, p, spec); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *launch) run(d *Driver, p place, spec sandbox.Spec) error {
	status, err := os.OpenFile(p.status(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("make the sandbox's status file: %w", err)
	}
	defer status.Close()
	args, err := os.Open(p.args())
	if err != nil {
		return fmt.Errorf("open the sandbox's arguments: %w", err)
	}
	defer args.Close()
	blockR, blockW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer blockR.Close()
	l.block = blockW

	// The mount of /etc stays visible: place.owns knows the process by it.
	argv := []string{d.bwrap, "--args", strconv.Itoa(argsFD), "--ro-bind", p.etc(), "/etc", "--"}
	l.cmd = &exec.Cmd{
		Path: d.bwrap, Args: append(argv, d.command(spec)...),
		Env: []string{}, Dir: "/",
		Stdout: l.log, Stderr: l.log,
		ExtraFiles:  []*os.File{status, blockR, args}, // statusFD, blockFD, argsFD
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	if err := l.cmd.Start(); err != nil {
		return fmt.Errorf("run bubblewrap: %w", err)
	}
	go func() {
		l.cmd.Wait()
		close(l.done)
	}()
	return nil
}

// closeOnExec keeps from the sandbox what this process inherited open from its
// own parent: bubblewrap passes on all that it is given. What Go opens is marked
// already.
func closeOnExec() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open descriptors: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

func (l *launch) close() {
	if l.block != nil {
		l.block.Close()
	}
	l.log.Close()
}

// poll looks every moment until ok holds, bubblewrap ends or ctx does.
func (l *launch) poll(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.done:
			if ok() {
				return nil
			}
			return errors.New(l.lastWords())
		case <-tick.C:
		}
	}
	return nil
}

// made waits until bubblewrap has made PID 1, and says who is who.
func (l *launch) made(ctx context.Context, p place) (record, error) {
	var init int
	err := l.poll(ctx, func() bool {
		s, _ := p.readStatus()
		init = s.child
		return init > 0
	})
	if err != nil {
		return record{}, err
	}
	r := record{Boot: bootID()}
	if r.Monitor, err = identify(l.cmd.Process.Pid); err == nil {
		r.Init, err = identify(init)
	}
	if err != nil {
		return record{}, fmt.Errorf("%s: %w", l.lastWords(), err)
	}
	os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", init), []byte(guestKillable), 0) // as far as allowed
	return r, nil
}

// release lets PID 1 go and waits until it is the program that was asked for.
func (l *launch) release(ctx context.Context, p place, r record, spec sandbox.Spec) error {
	if _, err := l.block.Write([]byte{1}); err != nil {
		return fmt.Errorf("let PID 1 go: %w", err)
	}
	var ended bool
	err := l.poll(ctx, func() bool {
		s, _ := p.readStatus()
		ended = s.exit != nil
		return ended || slices.Equal(hostproc.Args(r.Init.PID), spec.Args)
	})
	if err != nil {
		return err
	}
	if words := l.lastWords(); ended && failedToStart(words) {
		return errors.New(words)
	}
	return nil
}

// failedToStart says whether words come from one of the programs that lead to
// PID 1 and not from PID 1.
func failedToStart(words string) bool {
	name, _, ok := strings.Cut(words, ": ")
	return ok && slices.Contains([]string{"bwrap", "setpriv", "env"}, filepath.Base(name))
}

// lastWords is the end of what was said in this sandbox, on one line.
func (l *launch) lastWords() string {
	content, _ := io.ReadAll(io.NewSectionReader(l.log, l.logFrom, 4096))
	if words := strings.Join(strings.Fields(string(content)), " "); words != "" {
		return words
	}
	return "bubblewrap ended without a word"
}
