package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	quiet = slog.New(slog.DiscardHandler)
	v1    = Versions{1, 1}
)

// pair gives two ends of one stream on a fresh transport, and that transport.
func pair(t testing.TB) (guest, host *Conn, wire *cuttable) {
	t.Helper()
	guest, host = newConn(SessionID{1}, 1), newConn(SessionID{1}, 1)
	t.Cleanup(func() { guest.Close(); host.Close() })
	return guest, host, rewire(t, guest, host, 1<<60)
}

// cuttable is a transport that is cut after so many bytes, in mid-write.
type cuttable struct {
	net.Conn
	left atomic.Int64
}

func (c *cuttable) Write(p []byte) (int, error) {
	left := c.left.Add(-int64(len(p)))
	if left >= 0 {
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:max(0, left+int64(len(p)))])
	c.Conn.Close()
	return n, net.ErrClosed
}

// socketPair is a connected pair of real Unix sockets.
func socketPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("unix", path); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// rewire resumes the stream on a new transport that is cut after so many bytes.
func rewire(t testing.TB, guest, host *Conn, cutAfter int64) *cuttable {
	t.Helper()
	a, b := socketPair(t)
	wire := &cuttable{Conn: a}
	wire.left.Store(cutAfter)
	_, got := guest.position()
	received, ok := host.freeze(got)
	if !ok {
		t.Fatalf("host cannot resume at %d", got)
	}
	if err := host.attach(b, got); err != nil {
		t.Fatal(err)
	}
	if err := guest.attach(wire, received); err != nil {
		t.Fatal(err)
	}
	return wire
}

func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// A sandbox that sleeps and wakes a hundred times in the middle of two
// transfers must not notice.
func TestStreamResumesAtAnyByte(t *testing.T) {
	guest, host, _ := pair(t)
	const size = 6 << 20
	up, down := noise(1, size), noise(2, size)
	var done sync.WaitGroup
	send := func(c *Conn, data []byte) {
		chunks := rand.New(rand.NewPCG(1, uint64(len(data))))
		for len(data) > 0 {
			n := min(len(data), 1+chunks.IntN(90_000))
			if _, err := c.Write(data[:n]); err != nil {
				t.Error(err)
				return
			}
			data = data[n:]
		}
	}
	check := func(c *Conn, want []byte) {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("bytes were lost, doubled or reordered")
		}
		go io.Copy(io.Discard, c) // acknowledgements still have to be read
	}
	done.Go(func() { send(guest, up) })
	done.Go(func() { send(host, down) })
	done.Go(func() { check(host, up) })
	done.Go(func() { check(guest, down) })
	finished := make(chan struct{})
	go func() { done.Wait(); close(finished) }()

	cuts := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		select {
		case <-guest.lost:
		case <-finished:
			return
		}
		rewire(t, guest, host, 1+cuts.Int64N(100_000))
	}
	if !guest.Attached() {
		<-guest.lost
	}
	rewire(t, guest, host, 1<<60)
	<-finished
}

func TestWriteBlocksWhenTheWindowIsFull(t *testing.T) {
	guest, host, wire := pair(t)
	wire.Close()
	drop(guest)
	drop(host)
	written := make(chan int, 1)
	go func() {
		n, _ := guest.Write(make([]byte, Window+1))
		written <- n
	}()
	waitFor(t, "a full window", func() bool {
		guest.mu.Lock()
		defer guest.mu.Unlock()
		return guest.out.size == Window
	})
	select {
	case n := <-written:
		t.Fatalf("wrote %d bytes without anybody to acknowledge them", n)
	default:
	}
	rewire(t, guest, host, 1<<60)
	go io.Copy(io.Discard, guest)
	if _, err := io.ReadFull(host, make([]byte, Window+1)); err != nil {
		t.Fatal(err)
	}
	if n := <-written; n != Window+1 {
		t.Errorf("wrote %d bytes", n)
	}
}

// drop takes a stream's transport away, as its reader would on seeing it lost.
func drop(c *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.in)
}

func TestIdleStreamSendsNothing(t *testing.T) {
	guest, host, wire := pair(t)
	go io.Copy(io.Discard, guest)
	before := wire.left.Load()
	guest.Write([]byte("x"))
	io.ReadFull(host, make([]byte, 1))
	if sent := before - wire.left.Load(); sent != frameSize+1 {
		t.Errorf("one byte took %d", sent)
	}
	for n := 0; n < ackEvery; n += 1000 {
		host.Write(make([]byte, 1000))
	}
	waitFor(t, "an acknowledgement", func() bool { return before-wire.left.Load() == 2*frameSize+1 })
}

func TestHostilePeerEndsOnlyItsStream(t *testing.T) {
	for name, c := range map[string]struct{ bytes []byte }{
		"garbage":                {noise(1, 64)},
		"a frame too long":       {frame{length: MaxPayload + 1}.append(nil)},
		"an ack from the future": {frame{length: 1, ack: 6}.append(nil)},
		"an ack from the past":   {append(frame{length: 1, ack: 5}.append(nil), append([]byte{0}, frame{length: 1, ack: 4}.append(nil)...)...)},
		"a frame without sense":  {frame{}.append(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := socketPair(t)
			conn := newConn(SessionID{1}, 1)
			conn.attach(ours, 0)
			conn.Write([]byte("hello"))
			theirs.Write(c.bytes)
			_, err := io.Copy(io.Discard, conn)
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("reading ended with %v", err)
			}
			if _, err := conn.Write([]byte("x")); !errors.Is(err, ErrProtocol) {
				t.Errorf("writing gave %v", err)
			}
			io.Copy(io.Discard, theirs) // the transport is closed
		})
	}
}

func TestResumeOutOfRangeIsRefused(t *testing.T) {
	guest, host, _ := pair(t)
	host.Write(make([]byte, 10))
	io.ReadFull(guest, make([]byte, 10))
	guest.Write([]byte("x"))
	io.ReadFull(host, make([]byte, 1))
	for _, received := range []uint64{9, 11, 1 << 63} { // forgotten, never sent, absurd
		if _, ok := host.freeze(received); ok {
			t.Errorf("resumed at %d", received)
		}
	}
	if _, ok := host.freeze(10); !ok {
		go io.Copy(io.Discard, host)
		t.Error("would not resume at 10")
	}
}

func FuzzInbound(f *testing.F) {
	f.Add(append(frame{length: 3, ack: 2}.append(nil), "abc"...))
	f.Add(frame{ack: 5}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		conn := newConn(SessionID{1}, 1)
		conn.out.append([]byte("hello"))
		conn.next = 5
		in := newInbound(&fixed{Reader: bytes.NewReader(b)})
		conn.in = in
		p := make([]byte, 16)
		for {
			n, err := in.read(p, func(f frame) error { return conn.acknowledged(in, f) })
			if err != nil {
				break
			}
			if n == 0 || !conn.took(in, n) {
				t.Fatal("read gave neither data nor error")
			}
		}
		if conn.out.start > 5 || conn.received > uint64(len(b)) {
			t.Errorf("acknowledged to %d, received %d of %d", conn.out.start, conn.received, len(b))
		}
	})
}

// fixed is a transport that holds what it will ever say.
type fixed struct {
	net.Conn
	io.Reader
}

func (f *fixed) Read(p []byte) (int, error)  { return f.Reader.Read(p) }
func (f *fixed) Write(p []byte) (int, error) { return len(p), nil }
func (f *fixed) Close() error                { return nil }

func FuzzMux(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}, 5)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		var whole, parts muxScanner
		cut = max(0, min(cut, len(b)))
		a := whole.scan(b, true)
		e := parts.scan(b[:cut], true)
		if e == nil {
			e = parts.scan(b[cut:], true)
		}
		if (a == nil) != (e == nil) {
			t.Errorf("whole: %v, cut at %d: %v", a, cut, e)
		}
	})
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for !ok() {
		if sleep(ctx, time.Millisecond) != nil {
			t.Fatalf("no %s", what)
		}
	}
}
