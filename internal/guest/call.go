package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// Refusal is a guest's no.
type Refusal struct {
	Code    string // see proto.Response
	Message string // cleaned
}

func (r *Refusal) Error() string { return r.Message }

// Is makes refusals comparable to the errors they stand for.
func (r *Refusal) Is(target error) bool {
	switch r.Code {
	case "not_found":
		return target == fs.ErrNotExist
	case "refused":
		return target == syscall.ECONNREFUSED
	}
	return false
}

// ErrNoAnswer: the guest is connected but does not answer, or not in the
// protocol's words. Asking again may help.
var ErrNoAnswer = errors.New("the sandbox's first process does not answer")

// noAnswer keeps why there was none. The reason may quote the guest.
type noAnswer struct{ reason error }

func (e *noAnswer) Error() string   { return Clean(ErrNoAnswer.Error() + ": " + e.reason.Error()) }
func (e *noAnswer) Unwrap() []error { return []error{ErrNoAnswer, e.reason} }

// open sends a request on a new stream and waits for the answer. The caller
// closes the stream; after an error there is none.
func (h *Host) open(ctx context.Context, req proto.Request, within time.Duration) (*link.Stream, proto.Response, error) {
	session, _ := h.current()
	if session == nil {
		return nil, proto.Response{}, ErrNoGuest
	}
	wait, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not within %s: %w", within, os.ErrDeadlineExceeded))
	defer cancel()
	stream, resp, err := exchange(wait, session, req)
	var refusal *Refusal
	switch {
	case err == nil, errors.As(err, &refusal):
		return stream, resp, err
	case ctx.Err() != nil:
		return nil, resp, context.Cause(ctx)
	case wait.Err() != nil:
		err = context.Cause(wait)
	}
	return nil, resp, &noAnswer{err}
}

// exchange opens a stream, sends a request and takes the answer. It returns when
// ctx ends even if the guest takes nothing from the link any more, which no
// deadline of a stream bounds.
func exchange(ctx context.Context, session *link.Session, req proto.Request) (*link.Stream, proto.Response, error) {
	var resp proto.Response
	stream, err := session.OpenStream(ctx)
	if err != nil {
		return nil, resp, err
	}
	done := make(chan error, 1)
	go func() {
		if err := proto.WriteMessage(stream, req); err != nil {
			done <- err
			return
		}
		done <- proto.ReadMessage(stream, &resp)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		stream.Close() // which wakes the reader; resp is its own from now on
		return nil, proto.Response{}, ctx.Err()
	}
	if err == nil && resp.Error != "" {
		err = &Refusal{Code: resp.Code, Message: Clean(resp.Error)}
	}
	if err != nil {
		stream.Close()
		return nil, resp, err
	}
	return stream, resp, nil
}

// ask is open for requests that are done with their answer.
func (h *Host) ask(ctx context.Context, req proto.Request, within time.Duration) (proto.Response, error) {
	stream, resp, err := h.open(ctx, req, within)
	if err != nil {
		return resp, fmt.Errorf("%s: %w", req.Op, err)
	}
	return resp, stream.Close()
}

// DialPort connects to a TCP port on the guest's loopback. The error is
// syscall.ECONNREFUSED when nothing listens there.
func (h *Host) DialPort(ctx context.Context, port int) (net.Conn, error) {
	stream, _, err := h.open(ctx, proto.Request{Op: proto.OpDial, Port: port}, replyTimeout)
	if err != nil {
		return nil, fmt.Errorf("connect to port %d in the sandbox: %w", port, err)
	}
	return stream, nil
}

// ReadFile reads a whole file of at most max bytes. A missing one is
// fs.ErrNotExist.
func (h *Host) ReadFile(ctx context.Context, path string, max int64) ([]byte, error) {
	resp, err := h.ask(ctx, proto.Request{Op: proto.OpRead, File: &proto.File{Path: path, Max: max}}, replyTimeout)
	if err != nil {
		return nil, err
	}
	if int64(len(resp.Data)) > max {
		return nil, fmt.Errorf("read: %w: %d bytes where at most %d were asked for", link.ErrProtocol, len(resp.Data), max)
	}
	return resp.Data, nil
}

// WriteFile replaces a file atomically, making missing parent directories.
func (h *Host) WriteFile(ctx context.Context, path string, data []byte, mode uint32) error {
	_, err := h.ask(ctx, proto.Request{Op: proto.OpWrite, File: &proto.File{Path: path, Data: data, Mode: mode}}, replyTimeout)
	return err
}

// Supervise sets what the guest keeps running, and starts it. What ran before is
// stopped.
func (h *Host) Supervise(ctx context.Context, p proto.Process) error {
	_, err := h.ask(ctx, proto.Request{Op: proto.OpSupervise, Supervise: &p}, replyTimeout)
	return err
}

// Supervised asks what the guest keeps running, and how it is.
func (h *Host) Supervised(ctx context.Context) (proto.Supervised, error) {
	resp, err := h.ask(ctx, proto.Request{Op: proto.OpStatus}, replyTimeout)
	if err != nil {
		return proto.Supervised{}, err
	}
	if resp.Supervised == nil {
		return proto.Supervised{}, fmt.Errorf("status: %w: an answer without it", link.ErrProtocol)
	}
	resp.Supervised.Status = cleanStatus(resp.Supervised.Status)
	return *resp.Supervised, nil
}

// Restart restarts what is supervised, giving it grace to end by itself. It
// returns when the restart has begun.
func (h *Host) Restart(ctx context.Context, grace time.Duration) error {
	_, err := h.ask(ctx, proto.Request{Op: proto.OpRestart, Grace: proto.Duration(grace)}, replyTimeout)
	return err
}

// Shutdown stops what is supervised, then the guest.
func (h *Host) Shutdown(ctx context.Context, grace time.Duration) error {
	_, err := h.ask(ctx, proto.Request{Op: proto.OpShutdown, Grace: proto.Duration(grace)}, grace+replyTimeout)
	return err
}

// Events calls f with the guest's events after since, and then with new ones,
// until ctx or the session ends. It returns the last sequence number seen. The
// text of log lines and statuses is cleaned.
func (h *Host) Events(ctx context.Context, since uint64, f func(proto.Event)) (uint64, error) {
	stream, _, err := h.open(ctx, proto.Request{Op: proto.OpEvents, Since: since}, replyTimeout)
	if err != nil {
		return since, fmt.Errorf("events: %w", err)
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.SetDeadline(time.Unix(1, 0)) })()
	for {
		var e proto.Event
		if err := proto.ReadMessage(stream, &e); err != nil {
			if ctx.Err() != nil {
				return since, context.Cause(ctx)
			}
			return since, fmt.Errorf("events: %w", &noAnswer{eof(err)})
		}
		if e.Log != nil {
			e.Log.Text = clean(e.Log.Text, proto.MaxLogLine)
			e.Log.Stream = clean(e.Log.Stream, 16)
		}
		if e.Status != nil {
			s := cleanStatus(*e.Status)
			e.Status = &s
		}
		since = e.Seq
		f(e)
	}
}

func cleanStatus(s proto.Status) proto.Status {
	s.Phase = proto.Phase(clean(string(s.Phase), 32))
	s.LastExit = Clean(s.LastExit)
	return s
}

// eof: an event stream has no orderly end, so its end is always an error.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
