package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// impostor is a guest that does as it likes: behave is called with every
// session it gets.
func impostor(t testing.TB, dir string, behave func(*link.Session)) {
	t.Helper()
	d := &link.Dialer{
		Path:     filepath.Join(dir, guest.SocketName),
		Versions: link.Versions{Min: proto.MinVersion, Max: proto.Version},
		Log:      quiet,
	}
	background(t, func(ctx context.Context) error { return d.Run(ctx, behave) })
}

// request opens a stream, sends v and returns the answer.
func request(t testing.TB, s *link.Session, v any) (proto.Response, error) {
	t.Helper()
	stream, err := s.OpenStream(t.Context())
	if err != nil {
		return proto.Response{}, err
	}
	var resp proto.Response
	if err := proto.WriteMessage(stream, v); err != nil {
		return resp, err
	}
	return resp, proto.ReadMessage(stream, &resp)
}

func hello(t testing.TB, s *link.Session) {
	t.Helper()
	if _, err := request(t, s, proto.Request{Op: proto.OpHello, Hello: &proto.Hello{BootID: "0123456789"}}); err != nil {
		t.Error(err)
	}
}

func TestGuestThatDoesNotGreetIsNotThere(t *testing.T) {
	for name, greeting := range map[string]any{
		"another operation": proto.Request{Op: proto.OpService, Service: "ai"},
		"no boot ID":        proto.Request{Op: proto.OpHello, Hello: &proto.Hello{}},
		"an odd boot ID":    proto.Request{Op: proto.OpHello, Hello: &proto.Hello{BootID: "\033[2Jxxxxxxxx"}},
		"not a request":     []int{1, 2, 3},
		"a long one":        proto.Request{Op: proto.OpHello, Service: strings.Repeat("x", 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h, _ := startHost(t, dir, nil)
			ended := make(chan struct{}, 100)
			impostor(t, dir, func(s *link.Session) {
				request(t, s, greeting)
				<-s.Done()
				ended <- struct{}{}
			})
			<-ended
			if h.Info().BootID != "" {
				t.Errorf("took %+v for a guest", h.Info())
			}
		})
	}
}

// A guest that opens streams without end is refused some, and the host goes on.
func TestGuestMayOpenOnlySoManyStreams(t *testing.T) {
	dir := t.TempDir()
	hold := make(chan struct{})
	h, _ := startHost(t, dir, map[string]guest.Service{"hold": holder(hold)})
	busy := make(chan proto.Response, 1)
	impostor(t, dir, func(s *link.Session) {
		hello(t, s)
		for range 600 {
			resp, err := request(t, s, proto.Request{Op: proto.OpService, Service: "hold"})
			if err != nil {
				return
			}
			if resp.Error != "" {
				busy <- resp
				break
			}
		}
		<-s.Done()
	})
	if resp := <-busy; resp.Code != "busy" {
		t.Errorf("refused with %+v", resp)
	}
	connected(t, h)
	close(hold)
}

type holder chan struct{}

func (until holder) ServeConn(c net.Conn) {
	<-until
	c.Close()
}

func TestUnknownServiceIsRefusedInWords(t *testing.T) {
	dir := t.TempDir()
	startHost(t, dir, nil)
	answers := make(chan proto.Response, 1)
	impostor(t, dir, func(s *link.Session) {
		hello(t, s)
		resp, _ := request(t, s, proto.Request{Op: proto.OpService, Service: "no\033such"})
		answers <- resp
		<-s.Done()
	})
	if resp := <-answers; resp.Code != "refused" || !strings.Contains(resp.Error, `"nosuch"`) {
		t.Errorf("answered %+v", resp)
	}
}

// What a hostile guest says reaches nobody's terminal as it is.
func TestHostileAnswersAreCleaned(t *testing.T) {
	dir := t.TempDir()
	h, _ := startHost(t, dir, nil)
	impostor(t, dir, func(s *link.Session) {
		hello(t, s)
		for {
			stream, err := s.Accept(t.Context())
			if err != nil {
				return
			}
			var req proto.Request
			proto.ReadMessage(stream, &req)
			switch req.Op {
			case proto.OpRead:
				proto.WriteMessage(stream, proto.Response{Data: make([]byte, 100)})
			case proto.OpExec:
				proto.WriteMessage(stream, proto.Response{})
				proto.WriteFrame(stream, 77, nil)
			default:
				proto.WriteMessage(stream, proto.Response{Error: "\033]0;evil\007" + strings.Repeat("x", 1<<20)})
			}
			stream.Close()
		}
	})
	connected(t, h)
	_, err := h.DialPort(soon(t), 80)
	if err == nil || strings.ContainsAny(err.Error(), "\033\007") || len(err.Error()) > 4096 {
		t.Errorf("got %.100q", err)
	}
	if _, err := h.ReadFile(soon(t), "/x", 99); err == nil {
		t.Error("took more than was asked for")
	}
	if _, err := h.Exec(soon(t), sh("true"), nil, io.Discard, io.Discard); err == nil {
		t.Error("took an unknown frame")
	}
	if _, err := h.Supervised(soon(t)); err == nil {
		t.Error("took an answer without content")
	}
}

// A guest that died is not connected, though its session could still resume.
func TestDeadGuestIsNotConnected(t *testing.T) {
	dir := t.TempDir()
	h, _ := startHost(t, dir, nil)
	kill, _ := startGuest(t, dir, nil)
	connected(t, h)
	first := h.Info().BootID
	kill()
	startGuest(t, dir, nil)
	waitFor(t, "new guest", func() bool {
		connected(t, h)
		return h.Info().BootID != first
	})
	if _, err := h.Supervised(soon(t)); err != nil {
		t.Error(err)
	}
}

// A guest that stops taking bytes from the link holds nobody up for longer than
// they would wait.
func TestGuestThatTakesNothingHoldsNobodyUp(t *testing.T) {
	dir, front := t.TempDir(), t.TempDir()
	h, _ := startHost(t, dir, nil)
	deaf := deafProxy(t, filepath.Join(front, guest.SocketName), filepath.Join(dir, guest.SocketName))
	impostor(t, front, func(s *link.Session) {
		hello(t, s)
		<-s.Done()
	})
	connected(t, h)
	deaf()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			if err := h.WriteFile(ctx, "/x", make([]byte, 1<<20), 0o600); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("writing gave %v; want the end of its context", err)
			}
		})
	}
	calls.Wait()
	if _, err := h.Supervised(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("asking gave %v; want the end of its context", err)
	}
}

// deafProxy carries connections from one socket to another until it is told to
// carry nothing towards the caller any more.
func deafProxy(t testing.TB, from, to string) (deaf func()) {
	t.Helper()
	ln, err := net.Listen("unix", from)
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	var running sync.WaitGroup
	var open []net.Conn
	running.Go(func() {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", to)
		if err != nil {
			t.Error(err)
			return
		}
		open = append(open, in, out)
		running.Go(func() { io.Copy(out, in) })
		buf := make([]byte, 4<<10)
		for {
			n, err := out.Read(buf)
			if err != nil {
				return
			}
			in.Write(buf[:n])
			select {
			case <-stopped:
				return
			default:
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		for _, c := range open {
			c.Close()
		}
		running.Wait()
	})
	return func() { close(stopped) }
}

// What a guest says instead of an answer is cleaned and cut before it is shown.
func TestOddAnswersAreCleaned(t *testing.T) {
	dir := t.TempDir()
	h, _ := startHost(t, dir, nil)
	impostor(t, dir, func(s *link.Session) {
		hello(t, s)
		for {
			stream, err := s.Accept(t.Context())
			if err != nil {
				return
			}
			var req proto.Request
			proto.ReadMessage(stream, &req)
			proto.WriteMessage(stream, map[string]any{"supervised": map[string]any{"status": map[string]string{"started": "\x1b[2J" + strings.Repeat("x", 1<<20)}}})
		}
	})
	connected(t, h)
	_, err := h.Supervised(soon(t))
	if !errors.Is(err, guest.ErrNoAnswer) {
		t.Fatalf("got %.200v; want no answer", err)
	}
	if text := err.Error(); len(text) > 4<<10 || strings.Contains(text, "\x1b") {
		t.Errorf("shows %d bytes of the guest's: %.200q", len(text), text)
	}
}
