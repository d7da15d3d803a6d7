package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// house is a host listening in a directory; it can be stopped and started.
type house struct {
	dir      string
	sessions chan *Session
	stop     func()
	listener *Listener
}

func newHouse(t testing.TB, dir string, v Versions) *house {
	t.Helper()
	l, err := Listen(dir, v, quiet)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{dir: dir, sessions: make(chan *Session, 16), listener: l}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { l.Run(ctx, hand(h.sessions)) })
	h.stop = func() { cancel(); running.Wait() }
	t.Cleanup(h.stop)
	return h
}

// hand gives each session to whoever asks, and waits for its end.
func hand(to chan *Session) func(*Session) {
	return func(s *Session) {
		to <- s
		<-s.Done()
	}
}

// visit starts a guest that dials the house.
func (h *house) visit(t testing.TB, d Dialer) (sessions chan *Session, stop func()) {
	t.Helper()
	d.Path, d.Log = filepath.Join(h.dir, SocketName), quiet
	if d.Versions == (Versions{}) {
		d.Versions = v1
	}
	d.steady = 1
	sessions = make(chan *Session, 16)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx, hand(sessions)) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return sessions, stop
}

func TestSessionSurvivesLostTransports(t *testing.T) {
	h := newHouse(t, t.TempDir(), v1)
	guests, _ := h.visit(t, Dialer{})
	guest, host := <-guests, <-h.sessions
	a, b := streams(t, host, guest)
	data := noise(7, 4<<20)
	go func() { a.Write(data); a.CloseWrite() }()
	got := make([]byte, len(data))
	for n := 0; n < len(got); n += len(got) / 16 {
		if _, err := io.ReadFull(b, got[n:n+len(got)/16]); err != nil {
			t.Fatal(err)
		}
		if n/(len(got)/16)%2 == 0 {
			drop(host.conn)
		} else {
			drop(guest.conn)
		}
	}
	if !bytes.Equal(got, data) {
		t.Error("bytes were lost, doubled or reordered")
	}
	if len(guests) > 0 || len(h.sessions) > 0 {
		t.Error("a fresh session began")
	}
}

// A transport may be lost without the guest's being told. Told to dial anew, it
// gives the old one up, and the session goes on.
func TestToldToDialAnew(t *testing.T) {
	h := newHouse(t, t.TempDir(), v1)
	anew := make(chan struct{})
	guests, _ := h.visit(t, Dialer{Anew: anew})
	guest, host := <-guests, <-h.sessions
	a, b := streams(t, host, guest)
	for i := range 3 {
		before := transportOf(guest)
		anew <- struct{}{}
		for transportOf(guest) == before || transportOf(guest) == nil {
			time.Sleep(time.Millisecond)
		}
		word := []byte{byte(i)}
		if _, err := a.Write(word); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, word); err != nil || word[0] != byte(i) {
			t.Fatalf("%v: %v", word, err)
		}
	}
	if len(guests) > 0 || len(h.sessions) > 0 {
		t.Error("a fresh session began")
	}
}

func transportOf(s *Session) *inbound {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.conn.in
}

func TestHostThatLostItsStateBeginsAfresh(t *testing.T) {
	dir := t.TempDir()
	h := newHouse(t, dir, v1)
	guests, _ := h.visit(t, Dialer{})
	first := <-guests
	<-h.sessions
	h.stop()
	h = newHouse(t, dir, v1)
	second := <-guests
	if err := first.Err(); !errors.Is(err, ErrSessionLost) {
		t.Errorf("the first session ended with %v", err)
	}
	a, b := streams(t, second, <-h.sessions)
	a.Write([]byte("hi"))
	if _, err := io.ReadFull(b, make([]byte, 2)); err != nil {
		t.Error(err)
	}
}

func TestNewGuestReplacesTheOld(t *testing.T) {
	h := newHouse(t, t.TempDir(), v1)
	_, stop := h.visit(t, Dialer{})
	old := <-h.sessions
	stop()
	guests, _ := h.visit(t, Dialer{})
	<-guests
	current := <-h.sessions
	if err := old.Err(); !errors.Is(err, ErrSessionLost) {
		t.Errorf("the old session ended with %v", err)
	}
	if !current.Attached() {
		t.Error("the new session has no transport")
	}
}

func TestStrangersTakeTurnsSlowly(t *testing.T) {
	h := newHouse(t, t.TempDir(), v1)
	h.visit(t, Dialer{})
	<-h.sessions
	for range 3 {
		greet(t, h, hello{versions: v1})
		<-h.sessions
	}
	l := h.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := l.tenure(l.since.Add(minTenure / 4)); left != minTenure*3/4 {
		t.Errorf("a session may be replaced in %v", left)
	}
	l.current.fail(ErrClosed)
	if left := l.tenure(l.since); left > 0 {
		t.Errorf("a dead session may be replaced in %v", left)
	}
}

// greet dials and says hello, and leaves the connection open.
func greet(t testing.TB, h *house, say hello) net.Conn {
	t.Helper()
	c, err := dialSocket(t.Context(), filepath.Join(h.dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.Write(say.encode())
	// A guest's streams begin with the control stream.
	c.Write(append(frame{length: muxHeadSize}.append(nil), 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0))
	return c
}

func TestVersionMismatchIsRefusedInWords(t *testing.T) {
	h := newHouse(t, t.TempDir(), Versions{2, 3})
	c := greet(t, h, hello{versions: v1})
	a, err := readAnswer(c)
	if err != nil || a.verdict != refused || !strings.Contains(a.message, "versions 1 to 1") {
		t.Fatalf("got %+v, %v", a, err)
	}
	d := Dialer{Path: filepath.Join(h.dir, SocketName), Versions: v1, Log: quiet}
	if _, err := d.connect(t.Context(), nil); !errors.Is(err, ErrRefused) {
		t.Errorf("the dialler got %v", err)
	}
	guests, _ := h.visit(t, Dialer{Versions: Versions{1, 2}})
	if v := (<-guests).Version(); v != 2 {
		t.Errorf("settled on %d", v)
	}
}

func TestGarbageInsteadOfAHandshake(t *testing.T) {
	h := newHouse(t, t.TempDir(), v1)
	c, err := net.Dial("unix", filepath.Join(h.dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	c.Write(noise(1, 4096))
	io.Copy(io.Discard, c) // until the host hangs up
	guests, _ := h.visit(t, Dialer{})
	<-guests
}

func TestSlowHandshakeIsCutOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SocketName)
	ln, err := listenSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := newListener(ln, v1, quiet)
	l.timeout = 20 * time.Millisecond
	go l.Run(t.Context(), func(*Session) {})
	c, err := dialSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Write(magic[:])
	io.Copy(io.Discard, c) // until the host hangs up
}

func TestFloodOfHandshakesIsBounded(t *testing.T) {
	h := newHouse(t, t.TempDir(), v1)
	for range 4 * maxShaking {
		c, err := net.Dial("unix", filepath.Join(h.dir, SocketName))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	guests, _ := h.visit(t, Dialer{}) // gets through all the same
	<-guests
	h.listener.mu.Lock()
	defer h.listener.mu.Unlock()
	if n := len(h.listener.shaking); n > maxShaking {
		t.Errorf("%d handshakes under way", n)
	}
}

func TestSocketInALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30), strings.Repeat("x", 100))
	h := newHouse(t, dir, v1)
	guests, _ := h.visit(t, Dialer{})
	<-guests
	info, err := os.Stat(filepath.Join(dir, SocketName))
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("socket is %v, %v", info.Mode(), err)
	}
	h.stop()
	if _, err := os.Stat(filepath.Join(dir, SocketName)); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, SocketName)})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	h := newHouse(t, dir, v1)
	guests, _ := h.visit(t, Dialer{})
	<-guests
}

func TestRedialPauses(t *testing.T) {
	r := redial{steady: time.Second}
	begun := time.Unix(0, 0)
	var got []time.Duration
	for range 9 {
		r.failed(quiet, errors.New("no"))
		got = append(got, r.pause)
	}
	if got[0] != minRedial || got[1] != 2*minRedial || got[8] != maxRedial {
		t.Errorf("paused %v", got)
	}
	r.connected(begun)
	r.disconnected(begun.Add(time.Second))
	if r.pause != 0 {
		t.Errorf("after a steady connection it pauses %v", r.pause)
	}
	r.connected(begun)
	r.disconnected(begun.Add(time.Millisecond))
	if r.pause != minRedial {
		t.Errorf("after a short connection it pauses %v", r.pause)
	}
}
