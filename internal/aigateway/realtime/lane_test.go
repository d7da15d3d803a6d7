package realtime

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A conversation's bytes cut in three at every two places pass unchanged and are
// heard alike.
func TestCutsAtEveryByte(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		m := fromClient
		in := join(text(m, "one"), frame(m, true, 9, "ping"), frame(m, false, opText, "tw"), frame(m, true, 10, ""), frame(m, false, opContinuation, ""),
			frame(m, true, opContinuation, "o"), frame(m, true, opBinary, "\x00\x01"), text(m, ""), closeFrame(m, 1000, "x"))
		for i := range in {
			for j := i; j < len(in); j++ {
				var heard []string
				hear := func(p []byte) error { heard = append(heard, string(p)); return nil }
				pieces := slices.DeleteFunc([][]byte{in[:i], in[i:j], in[j:]}, func(p []byte) bool { return len(p) == 0 })
				s, out := oneWay(fromClient, pieces, Options{Up: hear, Down: hear, Withheld: [][]byte{bytes.Repeat([]byte("o"), 16)}})
				if !bytes.Equal(out, in) || fmt.Sprint(heard) != "[one two ]" || s.err != nil {
					t.Fatalf("cut at %d and %d: %q, heard %q, %v", i, j, out, heard, s.err)
				}
				// one, ping, tw, pong, "", o, binary, empty, close
				if n := s.up.count + s.down.count; n != 9 {
					t.Fatalf("%d frames", n)
				}
				if n := s.up.bytes + s.down.bytes; n != int64(len(in)) {
					t.Fatalf("%d bytes", n)
				}
			}
		}
	}
}

// Of a message that Up refuses at most so much reaches the upstream that it is not
// complete; when it came in one piece, nothing.
func TestRefusedMessageDoesNotReachTheUpstream(t *testing.T) {
	good, ping := text(true, "good"), frame(true, true, 9, "p")
	a, b, empty := frame(true, false, opText, "b"), frame(true, true, opContinuation, "ad"), frame(true, true, opContinuation, "")
	for _, tt := range []struct {
		name   string
		pieces [][]byte
		want   []byte
		close  bool // the upstream is between frames
	}{
		{"in one piece", [][]byte{join(good, text(true, "bad"), good)}, good, true},
		{"behind others", [][]byte{good, text(true, "bad"), good}, good, true},
		{"byte by byte", cut(text(true, "bad"), 1), text(true, "bad")[:8], false}, // 2+4 of head, 3 of payload
		{"fragments", [][]byte{a, ping, b}, join(a, ping), true},
		{"fragments in one piece", [][]byte{join(good, a, ping, b)}, join(good, a, ping), true},
		{"last fragment without payload", [][]byte{frame(true, false, opText, "bad"), empty}, frame(true, false, opText, "bad"), true},
		{"the same byte by byte", cut(join(frame(true, false, opText, "bad"), empty), 1), frame(true, false, opText, "bad"), true},
	} {
		reason := errors.New("too dear")
		s, out := oneWay(true, tt.pieces, Options{Up: func(m []byte) error {
			if string(m) == "bad" {
				return reason
			}
			return nil
		}})
		if !bytes.Equal(out, tt.want) {
			t.Errorf("%s: the upstream got %q instead of %q", tt.name, out, tt.want)
		}
		var e *Error
		if !errors.As(s.err, &e) || !e.Client || e.Err != reason || s.end.client != (closing{1008, "too dear"}) {
			t.Errorf("%s: %v, %+v", tt.name, s.err, s.end)
		}
		if s.upstream.bye(closing{code: 1001}) != tt.close {
			t.Errorf("%s: a close frame may follow: %t", tt.name, !tt.close)
		}
	}
}

func TestUpIsCalledBeforeAndDownAfter(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		from, to := &script{pieces: [][]byte{join(text(fromClient, "a"), text(fromClient, "b"))}}, &script{}
		var passed []int
		hear := func([]byte) error { passed = append(passed, to.got.Len()); return nil }
		var want []int
		if fromClient {
			newSession(from, to, Options{Up: hear}.withDefaults()).up.run()
			want = []int{0, 0}
		} else {
			newSession(to, from, Options{Down: hear}.withDefaults()).down.run()
			want = []int{6, 6} // both frames of 2+1 bytes went out in one write
		}
		if !slices.Equal(passed, want) {
			t.Errorf("from the client: %t; bytes that had passed: %v", fromClient, passed)
		}
	}
}

func TestWhatDownRefusesHasPassed(t *testing.T) {
	in := join(text(false, "one"), text(false, "two"), text(false, "three"))
	var heard []string
	reason := errors.New("spent")
	s, out := oneWay(false, [][]byte{in, text(false, "four")}, Options{Down: func(m []byte) error {
		if heard = append(heard, string(m)); string(m) == "two" {
			return reason
		}
		return nil
	}})
	if !bytes.Equal(out, in) || fmt.Sprint(heard) != "[one two]" || !errors.Is(s.err, reason) || s.end.client != (closing{1008, "spent"}) || s.end.upstream.code != 1001 {
		t.Fatalf("%q, %q, %v, %+v", out, heard, s.err, s.end)
	}
}

// What has passed is heard, even if what comes right behind it ends the session.
func TestMessagesBeforeAViolationAreHeard(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		calls := 0
		hear := func([]byte) error { calls++; return nil }
		s, _ := oneWay(fromClient, [][]byte{join(text(fromClient, "usage"), text(!fromClient, "x"))}, Options{Up: hear, Down: hear})
		if calls != 1 || !errors.Is(s.err, ErrProtocol) {
			t.Errorf("heard %d times, %v", calls, s.err)
		}
	}
}

// Messages of up to MaxMessage bytes are heard, in however many frames they are.
func TestLongMessagesPassUnseen(t *testing.T) {
	exact, over := strings.Repeat("x", 1000), strings.Repeat("y", 1001)
	in := join(text(true, exact), text(true, over), text(true, "after"),
		frame(true, false, opText, over[:600]), frame(true, false, opContinuation, over[:400]), frame(true, true, opContinuation, "z"),
		frame(true, false, opText, exact[:600]), frame(true, true, opContinuation, exact[:400]),
		frame(true, true, opBinary, over))
	for _, size := range []int{0, 1, 100, 4096} {
		var heard []int
		s, out := oneWay(true, cut(in, size), Options{MaxMessage: 1000, Up: func(m []byte) error { heard = append(heard, len(m)); return nil }})
		if stripClose(t, out, in, true); !slices.Equal(heard, []int{1000, 5, 1000}) || s.up.message.unseen != 2 {
			t.Errorf("pieces of %d: heard %v, unseen %d", size, heard, s.up.message.unseen)
		}
	}
}

// Under Strict, the client's message that is too long is not passed on whole, in
// however many frames it is; the upstream's is.
func TestStrictRefusesWhatCannotBeLookedAt(t *testing.T) {
	exact, over := strings.Repeat("x", 1000), strings.Repeat("y", 1001)
	first := text(true, exact)
	cutUp := join(frame(true, false, opText, over[:600]), frame(true, false, opContinuation, over[:400]))
	for _, tt := range []struct{ in, want []byte }{
		{join(first, text(true, over), text(true, "after")), first},
		{join(cutUp, frame(true, true, opContinuation, "z"), text(true, "after")), cutUp},
	} {
		for _, size := range []int{0, 1, 100} {
			s, out := oneWay(true, cut(tt.in, size), Options{MaxMessage: 1000, Strict: true, Up: func([]byte) error { return nil }})
			if stripClose(t, out, tt.want, true); !errors.Is(s.err, ErrTooLong) || s.end.client.code != codeTooBig {
				t.Errorf("pieces of %d: %v, %+v", size, s.err, s.end)
			}
		}
	}
	in := text(false, over)
	if s, out := oneWay(false, [][]byte{in}, Options{MaxMessage: 1000, Strict: true, Down: func([]byte) error { return nil }}); !bytes.HasPrefix(out, in) || errors.Is(s.err, ErrTooLong) {
		t.Errorf("%q, %v", out, s.err)
	}
}

func TestBinaryMessagesAreHeardOnRequest(t *testing.T) {
	in := join(frame(false, true, opBinary, `{"setupComplete":{}}`), text(false, "t"))
	for binary, want := range map[bool]string{false: "[t]", true: `[{"setupComplete":{}} t]`} {
		var heard []string
		oneWay(false, cut(in, 5), Options{Binary: binary, Down: func(m []byte) error { heard = append(heard, string(m)); return nil }})
		if fmt.Sprint(heard) != want {
			t.Errorf("binary %t: %v", binary, heard)
		}
	}
}

// A message that never ends holds no more than MaxMessage.
func TestBufferIsBounded(t *testing.T) {
	l := newLane(&session{o: Options{MaxMessage: 1 << 16}}, nil, nil, func([]byte) error { return nil })
	l.message.begin(head{op: opText, length: 1000})
	chunk := make([]byte, 1000)
	for range 1000 {
		l.message.add(chunk, head{}, 0)
		if l.message.buf != nil && len(*l.message.buf) > 1<<16 {
			t.Fatalf("%d bytes are held", len(*l.message.buf))
		}
		l.message.begin(head{op: opContinuation, length: 1000})
	}
	if l.message.buf != nil || l.message.unseen != 1 {
		t.Fatalf("unseen %d", l.message.unseen)
	}
}

func TestWithheldNeverPasses(t *testing.T) {
	const key = "sk-proj-0123456789abcdef"
	ping := frame(false, true, 9, "p")
	for _, tt := range []struct {
		name string
		in   []byte
		ends bool
	}{
		{"in a message", text(false, `{"key":"`+key+`"}`), true},
		{"at its end", text(false, key), true},
		{"binary", frame(false, true, opBinary, key), true},
		{"across fragments", join(frame(false, false, opText, "x"+key[:3]), frame(false, false, opContinuation, key[3:20]), frame(false, true, opContinuation, key[20:])), true},
		{"around a ping", join(frame(false, false, opText, key[:10]), ping, frame(false, true, opContinuation, key[10:])), true},
		{"around empty fragments", join(frame(false, false, opText, key[:10]), frame(false, false, opContinuation, ""), frame(false, true, opContinuation, key[10:])), true},
		{"in a ping", frame(false, true, 9, key), true},
		{"in a close frame", closeFrame(false, 3000, "Incorrect API key provided: "+key), true},
		{"after a false beginning", text(false, "sk-sk-proj-012sk-proj-sk-"+key), true},
		{"in two messages", join(text(false, key[:10]), text(false, key[10:])), false},
		{"nearly", text(false, key[:len(key)-1]+"X"), false},
		{"only a beginning", text(false, key[:len(key)-1]), false},
		{"beginnings in fragments", join(frame(false, false, opText, key[:10]), ping, frame(false, false, opContinuation, key[:10]), frame(false, true, opContinuation, "end")), false},
		{"the short one", text(false, "ollama and nothing else"), false},
	} {
		for size := range 40 {
			in := join(text(false, "before"), tt.in)
			s, out := oneWay(false, cut(in, size), Options{Withheld: [][]byte{[]byte("ollama"), nil, []byte("another-key-0123456789"), []byte(key)}})
			_, _, passed := naive(out, false, 1<<20, key)
			if passed || errors.Is(s.err, ErrWithheld) != tt.ends {
				t.Fatalf("%s in pieces of %d: %q, %v", tt.name, size, out, s.err)
			}
			if !tt.ends {
				stripClose(t, out, in, false)
			} else if s.end.client.code != 1011 || strings.Contains(s.err.Error(), key) {
				t.Fatalf("%s: %v, %+v", tt.name, s.err, s.end)
			}
		}
	}
}

// What is held back is at most the beginning: all before it is out, and with the
// message's end everything is.
func TestOnlyABeginningIsHeldBack(t *testing.T) {
	const key = "0123456789abcdef"
	from, to := &script{}, &script{}
	s := newSession(to, from, Options{Withheld: [][]byte{[]byte(key)}}.withDefaults())
	piece := piecePool.Get().(*[pieceSize]byte)
	s.down.buf = piece[:]
	feed := func(p []byte) int {
		s.down.end += copy(s.down.buf[s.down.end:], p)
		s.down.advance()
		return to.got.Len()
	}
	a, b := frame(false, false, opText, "abc012"), frame(false, false, opContinuation, "34")
	for _, step := range []struct {
		in   []byte
		want int
	}{
		{a, 5},                                // head of 2 and "abc"; "012" may be a beginning
		{b, 5},                                // "01234" still may be
		{frame(false, true, 9, ""), 5},        // a ping cannot overtake
		{frame(false, false, 0, "x01"), 17},   // not: 8 + 4 + 2 + head and "x" 3; "01" may be
		{frame(false, true, 0, "0"), 17 + 5},  // the message is over: "01", 2 and "0"
		{text(false, "0"), 17 + 5 + 3},        // a whole message is never held back
		{[]byte("\x81\x05zz01"), 17 + 8 + 4},  // 2 and "zz"
		{[]byte("z\x89"), 17 + 8 + 4 + 3},     // a head that is cut off waits
		{[]byte("\x01"), 17 + 8 + 4 + 3},      // so does a ping
		{[]byte("p"), 17 + 8 + 4 + 3 + 3},     // until it is whole
		{[]byte("\x82"), 17 + 8 + 4 + 3 + 3},  // half a head
		{[]byte("\x00"), 17 + 8 + 4 + 3 + 5},  // and all of it
		{frame(false, false, opText, key), 0}, // never
	} {
		if got := feed(step.in); got != step.want && step.want != 0 {
			t.Fatalf("after %q %d bytes are out, want %d", step.in, got, step.want)
		}
	}
	if !errors.Is(s.err, ErrWithheld) || to.got.Len() != 37 {
		t.Fatalf("%v, %d bytes", s.err, to.got.Len())
	}
}

// A server that cuts what may be a beginning up with ever more frames fills no memory.
func TestEndlessCutsWithinABeginning(t *testing.T) {
	in := append(frame(false, false, opText, "0123"), bytes.Repeat(frame(false, false, opContinuation, ""), pieceSize)...)
	s, out := oneWay(false, cut(in, 0), Options{Withheld: [][]byte{[]byte("0123456789abcdef")}})
	if !errors.Is(s.err, ErrWithheld) || len(out) != 2 { // the first frame's head
		t.Fatalf("%v, %d bytes", s.err, len(out))
	}
}
