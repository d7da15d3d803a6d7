package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// sessions gives the two ends of one session over real sockets.
func sessions(t testing.TB) (guest, host *Session) {
	t.Helper()
	g, h, _ := pair(t)
	made := make(chan *Session, 1)
	go func() {
		s, err := newSession(h, false)
		if err != nil {
			t.Error(err)
		}
		made <- s
	}()
	guest, err := newSession(g, true)
	if err != nil {
		t.Fatal(err)
	}
	host = <-made
	t.Cleanup(func() { guest.Close(); host.Close() })
	return guest, host
}

// streams gives the two ends of one stream, opened by a.
func streams(t testing.TB, a, b *Session) (opened, accepted *Stream) {
	t.Helper()
	opened, err := a.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = b.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return opened, accepted
}

func TestStreamHalfClose(t *testing.T) {
	guest, host := sessions(t)
	ours, theirs := streams(t, host, guest)
	ours.Write([]byte("question"))
	ours.CloseWrite()
	if got, err := io.ReadAll(theirs); err != nil || string(got) != "question" {
		t.Fatalf("read %q, %v", got, err)
	}
	theirs.Write([]byte("answer"))
	theirs.Close()
	if got, err := io.ReadAll(ours); err != nil || string(got) != "answer" {
		t.Fatalf("read %q, %v", got, err)
	}
	ours.Close()
	waitFor(t, "forgotten streams", func() bool { return idle(guest) && idle(host) })
}

// idle says whether only the control stream is left.
func idle(s *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams) == 1 && s.lingering == 0 && s.mux.NumStreams() == 1
}

// A reader that goes away must stop the writer at once, as a closed TCP socket
// would, though nobody reads what is still on its way.
func TestCloseStopsTheWriter(t *testing.T) {
	guest, host := sessions(t)
	ours, theirs := streams(t, host, guest)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(theirs, endless{})
		ended <- err
	}()
	io.ReadFull(ours, make([]byte, 1<<20))
	ours.Write([]byte("last words"))
	ours.Close()
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Errorf("the writer ended with %v", err)
	}
	<-theirs.Stopped()
	if got, err := io.ReadAll(theirs); err != nil || string(got) != "last words" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading a closed stream gave %v", err)
	}
	theirs.Close()
	waitFor(t, "forgotten streams", func() bool { return idle(guest) && idle(host) })
}

func TestCloseBeforeAcceptStopsTheWriter(t *testing.T) {
	guest, host := sessions(t)
	ours, err := host.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	waitFor(t, "word on the control stream", func() bool {
		guest.mu.Lock()
		defer guest.mu.Unlock()
		return len(guest.stopped) == 1
	})
	theirs, err := guest.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write([]byte("x")); !errors.Is(err, ErrStopped) {
		t.Errorf("writing gave %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestStreamDeadlines(t *testing.T) {
	guest, host := sessions(t)
	ours, _ := streams(t, host, guest)
	ours.SetReadDeadline(past)
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading gave %v", err)
	}
	ours.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := ours.Write(make([]byte, 2*muxWindow)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing gave %v", err)
	}
}

func TestLostSessionIsNeverACleanEnd(t *testing.T) {
	guest, host := sessions(t)
	ours, _ := streams(t, host, guest)
	host.conn.fail(ErrSessionLost)
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, ErrSessionLost) {
		t.Errorf("reading gave %v", err)
	}
	if _, err := ours.Write(make([]byte, 1)); !errors.Is(err, ErrSessionLost) {
		t.Errorf("writing gave %v", err)
	}
	if _, err := host.OpenStream(t.Context()); !errors.Is(err, ErrSessionLost) {
		t.Errorf("opening gave %v", err)
	}
	if _, err := host.Accept(t.Context()); !errors.Is(err, ErrSessionLost) {
		t.Errorf("accepting gave %v", err)
	}
}

// One stream whose reader stalls and two that flood as fast as they can, one
// each way, must let a ping-pong through all the while: while it makes its
// rounds, the floods may move only a bounded number of bytes per round.
func TestFloodsDoNotStarveAPingPong(t *testing.T) {
	guest, host := sessions(t)
	stalled, _ := streams(t, host, guest)
	go io.Copy(stalled, endless{})
	var flooded atomic.Int64
	flood := func(a, b *Session) {
		from, to := streams(t, a, b)
		go io.Copy(from, endless{})
		go io.Copy(&counter{&flooded}, to)
	}
	flood(host, guest)
	flood(guest, host)
	waitFor(t, "floods", func() bool { return flooded.Load() > 4<<20 })

	ping, pong := streams(t, host, guest)
	go io.Copy(pong, pong)
	const rounds = 300
	before := flooded.Load()
	for range rounds {
		ping.Write([]byte("ping"))
		if _, err := io.ReadFull(ping, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	perRound := (flooded.Load() - before) / rounds
	t.Logf("the floods moved %d KiB per round", perRound>>10)
	if perRound > 8<<20 {
		t.Errorf("the floods moved %d bytes per round", perRound)
	}
}

type counter struct{ n *atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

func TestGarbageOnTheMuxEndsTheSession(t *testing.T) {
	head := func(version, kind byte, flags, stream, length byte) []byte {
		return []byte{version, kind, 0, flags, 0, 0, 0, stream, 0, 0, 0, length}
	}
	for name, b := range map[string][]byte{
		"text":                      bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 4),
		"a ping":                    head(0, 2, 1, 0, 1),
		"a stream of the wrong end": head(0, 1, 1, 2, 0),
		"a message too long":        {0, 0, 0, 1, 0, 0, 0, 3, 0xff, 0, 0, 0},
		"a stream opened twice":     append(head(0, 1, 1, 9, 0), head(0, 1, 1, 9, 0)...),
		"a closed control stream":   head(0, 1, 4, 1, 0),
		"a flag out of order":       append(append(head(0, 1, 1, 9, 0), head(0, 1, 4, 9, 0)...), head(0, 1, 4, 9, 0)...),
	} {
		t.Run(name, func(t *testing.T) {
			guest, host := sessions(t)
			guest.conn.Write(b)
			select {
			case <-host.Done():
			case <-time.After(20 * time.Second):
				t.Fatal("the session goes on")
			}
			if err := host.Err(); !errors.Is(err, ErrProtocol) {
				t.Errorf("the session ended with %v", err)
			}
		})
	}
}

func TestPeerThatNeverClosesItsHalfIsCutOff(t *testing.T) {
	guest, host := sessions(t)
	for range maxLingering + 1 {
		ours, _ := streams(t, host, guest) // theirs stays open
		ours.Close()
	}
	if err := host.Err(); !errors.Is(err, ErrProtocol) {
		t.Errorf("the session ended with %v", err)
	}
}

func TestOpenStreamHeedsItsContext(t *testing.T) {
	guest, host := sessions(t)
	drop(guest.conn)
	drop(host.conn)
	ctx, cancel := context.WithCancel(t.Context())
	for range maxOpening + muxBacklog {
		if _, err := host.OpenStream(ctx); err != nil {
			break
		}
		if host.mux.NumStreams() > muxBacklog {
			cancel()
		}
	}
	if ctx.Err() == nil {
		t.Error("opened more streams than the guest's backlog")
	}
	cancel()
}
