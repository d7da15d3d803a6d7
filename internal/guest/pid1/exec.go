package pid1

import (
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

// caller is the host's end of a stream.
type caller interface {
	io.ReadWriter
	SetWriteDeadline(time.Time) error
	// Stopped is closed when the host has gone.
	Stopped() <-chan struct{}
}

// run is one command that the host asked for.
type run struct {
	reaper   *reaper
	child    *child
	pipes    pipes
	conn     caller
	gone     <-chan struct{} // closed when the session has ended
	deadline <-chan time.Time

	mu sync.Mutex // serialises frames to conn
}

// farewell bounds the wait for a host that does not read what a command that
// has ended still had to say.
const farewell = 10 * time.Second

// exec runs a command until it ends, its time is up or the host has gone. Its
// whole process group ends with it.
func (g *Guest) exec(conn caller, gone <-chan struct{}, e *proto.Exec) error {
	timeout, err := checkExec(e)
	if err != nil {
		return answer(conn, err)
	}
	if err := answer(conn, nil); err != nil {
		return err
	}
	r := &run{reaper: g.reaper, conn: conn, gone: gone}
	if r.pipes, err = openPipes(e.Stdin); err != nil {
		return r.exit(proto.ExecExit{Code: -1, Error: err.Error()})
	}
	defer r.pipes.close()
	cmd := command{args: e.Args, env: merge(g.env, e.Env), dir: e.Dir, files: r.pipes.theirs}
	if r.child, err = cmd.start(g.reaper); err != nil {
		return r.exit(proto.ExecExit{Code: -1, Error: err.Error()})
	}
	r.pipes.started()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	r.deadline = timer.C
	return r.exit(r.wait())
}

func checkExec(e *proto.Exec) (time.Duration, error) {
	if e == nil || len(e.Args) == 0 {
		return 0, refuse("invalid", "no command given")
	}
	timeout := time.Duration(e.Timeout)
	if timeout == 0 {
		timeout = proto.DefaultExecTimeout
	}
	if timeout < 0 || timeout > proto.MaxExecTimeout {
		return 0, refuse("invalid", "a command may run for at most %v", proto.MaxExecTimeout)
	}
	return timeout, nil
}

// wait carries the command's streams until it has ended, and says how it did.
func (r *run) wait() proto.ExecExit {
	go r.feed()
	var output sync.WaitGroup
	output.Go(func() { r.carry(proto.FrameStdout, r.pipes.stdout) })
	output.Go(func() { r.carry(proto.FrameStderr, r.pipes.stderr) })
	timedOut := r.watch()
	r.conn.SetWriteDeadline(time.Now().Add(farewell))
	output.Wait()
	exit := exitOf(r.child.status)
	exit.TimedOut = timedOut
	return exit
}

// watch waits for the command's end and brings it about if need be.
func (r *run) watch() (timedOut bool) {
	select {
	case <-r.child.done:
		return false
	case <-r.deadline:
		timedOut = true
	case <-r.conn.Stopped():
	case <-r.gone:
	}
	r.reaper.kill(r.child, unix.SIGKILL)
	<-r.child.done
	return timedOut
}

// feed carries the host's input to the command. The end of the stream means that
// the host has gone.
func (r *run) feed() {
	buf := make([]byte, proto.MaxFrame)
	for {
		kind, payload, err := proto.ReadFrame(r.conn, buf)
		if err != nil {
			r.reaper.kill(r.child, unix.SIGKILL)
			return
		}
		stdin := r.pipes.stdin
		switch {
		case stdin == nil:
		case kind == proto.FrameStdin:
			stdin.Write(payload) // a command need not read what it is given
		case kind == proto.FrameStdinEnd:
			stdin.Close()
		}
	}
}

// carry sends what the command writes; a host that takes no more ends it.
func (r *run) carry(kind proto.FrameKind, from *os.File) {
	err := drain(from, r.child.done, func(p []byte) error { return r.send(kind, p) })
	if err != nil {
		r.reaper.kill(r.child, unix.SIGKILL)
	}
}

func (r *run) send(kind proto.FrameKind, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return proto.WriteFrame(r.conn, kind, p)
}

func (r *run) exit(e proto.ExecExit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return r.send(proto.FrameExit, b)
}

func exitOf(s unix.WaitStatus) proto.ExecExit {
	if s.Signaled() {
		return proto.ExecExit{Code: -1, Signal: int(s.Signal())}
	}
	return proto.ExecExit{Code: s.ExitStatus()}
}
