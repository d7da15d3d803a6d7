package realtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ends are the far ends of a session's two connections.
type ends struct {
	client, upstream net.Conn
	done             chan result
}

// begin begins a session between two pipes, which hold nothing: a write waits for its
// reader.
func begin(ctx context.Context, o Options) *ends {
	client, nearClient := net.Pipe()
	upstream, nearUpstream := net.Pipe()
	e := &ends{client, upstream, make(chan result, 1)}
	go func() {
		stats, err := Run(ctx, nearClient, nearUpstream, o)
		e.done <- result{stats, err}
	}()
	return e
}

// read reads exactly what is wanted.
func read(t *testing.T, c io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %q instead of %q, %v", got[:n], want, err)
	}
}

func write(t *testing.T, c io.Writer, p []byte) {
	t.Helper()
	_, err := c.Write(p)
	must(t, err)
}

// readClose reads all there still is, which is one close frame.
func readClose(t *testing.T, c io.Reader, masked bool) closing {
	t.Helper()
	p, err := io.ReadAll(c)
	must(t, err)
	return stripClose(t, p, nil, masked)
}

// Time passes here only when everything waits.
func TestIdleSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		e := begin(t.Context(), Options{Idle: time.Minute})
		time.Sleep(40 * time.Second)
		write(t, e.client, text(true, "a"))
		read(t, e.upstream, text(true, "a"))
		time.Sleep(40 * time.Second)
		write(t, e.upstream, text(false, "b"))
		read(t, e.client, text(false, "b"))
		want := closing{1001, "nothing was sent for 1m0s"}
		reply := make(chan closing, 1)
		go func() {
			reply <- readClose(t, e.upstream, true)
		}()
		if got := readClose(t, e.client, false); got != want {
			t.Errorf("the client was told %+v", got)
		}
		if got := <-reply; got != want {
			t.Errorf("the upstream was told %+v", got)
		}
		r := <-e.done
		if r.err != ErrIdle {
			t.Error(r.err)
		}
		// 40 s + 40 s + 60 s of silence, and 5 s in which nobody answers the close frames.
		if took := time.Since(start); took != 145*time.Second {
			t.Errorf("it took %v", took)
		}
		// Each frame has a head of 2 bytes, the masked one 4 more, and 1 byte.
		if r.stats != (Stats{UpBytes: 7, DownBytes: 3, UpFrames: 1, DownFrames: 1}) {
			t.Errorf("%+v", r.stats)
		}
	})
}

// A client that speaks but never listens holds the session for no longer than Idle.
func TestClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		e := begin(t.Context(), Options{Idle: time.Minute})
		time.Sleep(time.Second)
		write(t, e.upstream, text(false, "never read"))
		go func() { _, _ = io.Copy(io.Discard, e.upstream) }()
		speaker := make(chan struct{})
		go func() {
			defer close(speaker)
			for { // until the connection is closed
				time.Sleep(9 * time.Second)
				if _, err := e.client.Write(text(true, "still here")); err != nil {
					return
				}
			}
		}()
		if r := <-e.done; r.err != ErrIdle || r.stats.DownBytes != 0 || r.stats.UpFrames != 6 {
			t.Errorf("%+v", r) // six: at 10, 19, ... 55 seconds
		}
		// It is stuck from the first second on for a minute, then for 5 s its turn to be
		// told does not come.
		if took := time.Since(start); took != 66*time.Second {
			t.Errorf("it took %v", took)
		}
		<-speaker
	})
}

func TestEndOfContext(t *testing.T) {
	for _, tt := range []struct {
		cause error
		want  string
	}{{nil, "the session was ended"}, {errors.New("the budget is used up"), "the budget is used up"}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			e := begin(ctx, Options{})
			write(t, e.client, text(true, "half")[:7])
			read(t, e.upstream, text(true, "half")[:7])
			cancel(tt.cause)
			// The upstream is within a frame and can be told nothing.
			if rest, err := io.ReadAll(e.upstream); len(rest) != 0 || err != nil {
				t.Errorf("the upstream got %q, %v", rest, err)
			}
			want := closeFrame(false, 1001, tt.want)
			read(t, e.client, want)
			// What it still sends is taken, and its answer ends the session at once.
			start := time.Now()
			write(t, e.client, text(true, "half")[7:])
			write(t, e.client, join(text(true, "late"), closeFrame(true, 1001, "")))
			r := <-e.done
			if cause := context.Cause(ctx); r.err != cause || time.Since(start) != 0 {
				t.Errorf("%v after %v", r.err, time.Since(start))
			}
			if r.stats.UpBytes != 7 || r.stats.UpFrames != 0 {
				t.Errorf("%+v", r.stats)
			}
		})
	}
}

// A context that is over before it begins leaves nothing behind.
func TestContextThatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		e := begin(ctx, Options{})
		go func() { _, _ = io.Copy(io.Discard, e.upstream) }()
		if c := readClose(t, e.client, false); c.code != 1001 {
			t.Errorf("%+v", c)
		}
		if r := <-e.done; r.err != context.Canceled {
			t.Error(r.err)
		}
	})
}

func TestClosingHandshake(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			e := begin(t.Context(), Options{})
			first, second := e.client, e.upstream
			if !fromClient {
				first, second = second, first
			}
			write(t, first, closeFrame(fromClient, 1000, "bye"))
			read(t, second, closeFrame(fromClient, 1000, "bye"))
			write(t, second, text(!fromClient, "last words")) // which are allowed
			read(t, first, text(!fromClient, "last words"))
			write(t, second, closeFrame(!fromClient, 1000, ""))
			read(t, first, closeFrame(!fromClient, 1000, ""))
			if r := <-e.done; r.err != nil || time.Since(start) != 0 || r.stats.UpFrames+r.stats.DownFrames != 3 {
				t.Errorf("%+v after %v", r, time.Since(start))
			}
		})
	}
}

// The side that does not answer a close frame has 5 s to do so.
func TestCloseFrameWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		e := begin(t.Context(), Options{})
		write(t, e.client, closeFrame(true, 1000, ""))
		read(t, e.upstream, closeFrame(true, 1000, ""))
		if c := readClose(t, e.client, false); c.code != 1001 {
			t.Errorf("%+v", c)
		}
		if r := <-e.done; r.err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("%+v after %v", r, time.Since(start))
		}
	})
}

// Some servers answer a close frame by closing the connection.
func TestCloseFrameAnsweredByTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := begin(t.Context(), Options{})
		write(t, e.client, closeFrame(true, 1000, ""))
		read(t, e.upstream, closeFrame(true, 1000, ""))
		e.upstream.Close()
		if c := readClose(t, e.client, false); c != (closing{1000, ""}) {
			t.Errorf("%+v", c)
		}
		if r := <-e.done; r.err != nil {
			t.Error(r.err)
		}
	})
}

func TestSideThatBreaksOff(t *testing.T) {
	for _, tt := range []struct {
		client bool
		want   closing
	}{{true, closing{1001, "the client is gone"}}, {false, closing{1011, "the model's server broke off"}}} {
		synctest.Test(t, func(t *testing.T) {
			e := begin(t.Context(), Options{})
			gone, left := e.client, e.upstream
			if !tt.client {
				gone, left = left, gone
			}
			write(t, gone, text(tt.client, "last")) // then a head that is cut off
			read(t, left, text(tt.client, "last"))
			write(t, gone, []byte{0x81})
			gone.Close()
			if c := readClose(t, left, tt.client); c != tt.want {
				t.Errorf("told %+v", c)
			}
			left.Close()
			var e2 *Error
			if r := <-e.done; !errors.As(r.err, &e2) || e2.Client != tt.client || !errors.Is(e2, ErrGone) {
				t.Error(r.err)
			}
		})
	}
}

// One that breaks off within a frame leaves the other where no close frame fits.
func TestSideThatBreaksOffWithinAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := begin(t.Context(), Options{})
		write(t, e.upstream, text(false, "cut")[:4])
		read(t, e.client, text(false, "cut")[:4])
		e.upstream.Close()
		if rest, err := io.ReadAll(e.client); err != nil || len(rest) != 0 {
			t.Errorf("%q, %v", rest, err)
		}
		if r := <-e.done; !errors.Is(r.err, ErrGone) {
			t.Error(r.err)
		}
	})
}

// What is held back because it may begin a secret comes out when nothing follows.
func TestHeldBackBytesComeOutAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := begin(t.Context(), Options{Withheld: [][]byte{[]byte("0123456789abcdef")}})
		part := frame(false, false, opText, "x0123")
		write(t, e.upstream, part)
		read(t, e.client, part[:3])
		e.upstream.Close()
		read(t, e.client, part[3:])
		// A close frame may stand between fragments.
		if c := readClose(t, e.client, false); c.code != 1011 {
			t.Errorf("%+v", c)
		}
		if r := <-e.done; r.stats.DownBytes != int64(len(part)) {
			t.Errorf("%+v", r)
		}
	})
}

// Both sides learn what is their part of it, and the offender's is the truth.
func TestBothSidesAreTold(t *testing.T) {
	for _, tt := range []struct {
		name             string
		in               []byte
		fromClient       bool
		client, upstream uint16
	}{
		{"the client breaks the rules", text(false, "x"), true, 1002, 1001},
		{"the upstream breaks the rules", text(true, "x"), false, 1011, 1002},
		{"the client's frame is too long", frame(true, true, opBinary, strings.Repeat("x", 1001)), true, 1009, 1001},
		{"the upstream's frame is too long", frame(false, true, opBinary, strings.Repeat("x", 1001)), false, 1011, 1009},
		{"the client's message is refused", text(true, "no"), true, 1008, 1001},
		{"the upstream sends the secret", text(false, "0123456789abcdef"), false, 1011, 1001},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := begin(t.Context(), Options{MaxFrame: 1000, Withheld: [][]byte{[]byte("0123456789abcdef")},
				Up: func([]byte) error { return errors.New("refused") }})
			from := e.upstream
			if tt.fromClient {
				from = e.client
			}
			go func() { _, _ = from.Write(tt.in) }() // of which not all may be read
			told := make(chan closing, 1)
			go func() { told <- readClose(t, e.upstream, true) }()
			if c := readClose(t, e.client, false); c.code != tt.client {
				t.Errorf("%s: the client was told %+v", tt.name, c)
			}
			if c := <-told; c.code != tt.upstream {
				t.Errorf("%s: the upstream was told %+v", tt.name, c)
			}
			var side *Error
			if r := <-e.done; !errors.As(r.err, &side) || side.Client != tt.fromClient || r.stats.UpBytes+r.stats.DownBytes != 0 {
				t.Errorf("%s: %+v", tt.name, r)
			}
		})
	}
}

// Who waits in Up is told that the session ends, and Run returns when it has stopped.
func TestStoppedEndsAWaitInUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stopped, calls := make(chan struct{}), 0
		e := begin(ctx, Options{
			Stopped: func() { calls++; close(stopped) },
			Up:      func([]byte) error { <-stopped; return errors.New("too late") },
		})
		write(t, e.client, text(true, "asks"))
		synctest.Wait()
		cancel()
		go func() { _, _ = io.Copy(io.Discard, e.client) }()
		readClose(t, e.upstream, true)
		if r := <-e.done; !errors.Is(r.err, context.Canceled) || r.stats.UpFrames != 0 || calls != 1 {
			t.Errorf("%+v, told %d times", r, calls)
		}
	})
}

// The close frame that the upstream answers with never gets to the client before the
// reason.
func TestTheReasonComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := begin(t.Context(), Options{Up: func([]byte) error { return errors.New("spent") }})
		write(t, e.client, text(true, "asks"))
		head := make([]byte, 2)
		if _, err := io.ReadFull(e.upstream, head); err != nil { // of the close frame, as the client's waits to be read
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, e.upstream) }()
		go func() { _, _ = e.upstream.Write(closeFrame(false, 1001, "the session was ended")) }()
		synctest.Wait()
		if c := readClose(t, e.client, false); c != (closing{1008, "spent"}) {
			t.Errorf("%+v", c)
		}
		<-e.done
	})
}
