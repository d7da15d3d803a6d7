package realtime

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// The masked "Hello" and its mask are an example of RFC 6455, 5.7.
func TestUnmaskIsTheStandards(t *testing.T) {
	masked := []byte{0x7f, 0x9f, 0x4d, 0x51, 0x58}
	unmask(masked, testMask, 0)
	if string(masked) != "Hello" {
		t.Fatalf("%q", masked)
	}
	long := bytes.Repeat([]byte("abcdefg"), 30)
	for pos := range int64(9) {
		for n := range 40 {
			got, want := bytes.Clone(long[:n]), bytes.Clone(long[:n])
			unmask(got, testMask, pos)
			for i := range want {
				want[i] ^= testMask[(int(pos)+i)%4]
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes at %d: %q instead of %q", n, pos, got, want)
			}
		}
	}
}

// Each is put behind a good message and before another. What stands before the
// violation comes out, nothing of what follows does.
func TestHostileFramesEndTheSession(t *testing.T) {
	long := strings.Repeat("x", 126)
	for _, tt := range []struct {
		name string
		bad  func(masked bool) []byte
		want error
		code uint16
	}{
		{"reserved bit 1", func(m bool) []byte { return frame(m, true, opText|0x40, "x") }, ErrProtocol, 1002},
		{"reserved bit 2", func(m bool) []byte { return frame(m, true, opText|0x20, "x") }, ErrProtocol, 1002},
		{"reserved bit 3", func(m bool) []byte { return frame(m, true, opText|0x10, "x") }, ErrProtocol, 1002},
		{"reserved bit, head cut", func(m bool) []byte { return frame(m, true, opText|0x40, "x")[:2] }, ErrProtocol, 1002},
		{"opcode 3", func(m bool) []byte { return frame(m, true, 3, "x") }, ErrProtocol, 1002},
		{"opcode 7", func(m bool) []byte { return frame(m, true, 7, "x") }, ErrProtocol, 1002},
		{"opcode 11", func(m bool) []byte { return frame(m, true, 11, "x") }, ErrProtocol, 1002},
		{"opcode 15", func(m bool) []byte { return frame(m, true, 15, "x") }, ErrProtocol, 1002},
		{"wrong mask bit", func(m bool) []byte { return text(!m, "x") }, ErrProtocol, 1002},
		{"ping in fragments", func(m bool) []byte { return frame(m, false, 9, "x") }, ErrProtocol, 1002},
		{"long ping", func(m bool) []byte { return frame(m, true, 9, long) }, ErrProtocol, 1002},
		{"long close", func(m bool) []byte { return frame(m, true, opClose, long) }, ErrProtocol, 1002},
		{"stray continuation", func(m bool) []byte { return frame(m, true, opContinuation, "x") }, ErrProtocol, 1002},
		{"absurd length", func(m bool) []byte {
			b := frame(m, true, opText, strings.Repeat("x", 1<<16))
			b[2] = 0xff
			return b
		}, ErrProtocol, 1002},
		{"too long", func(m bool) []byte { return text(m, strings.Repeat("x", 1001)) }, ErrTooLong, 1009},
		{"bytes of another protocol", func(m bool) []byte { return []byte("GET / HTTP/1.1\r\n") }, ErrProtocol, 1002},
	} {
		for _, fromClient := range []bool{true, false} {
			for _, size := range []int{0, 1, 7} {
				good := text(fromClient, "good")
				in := join(good, tt.bad(fromClient), text(fromClient, "lost"))
				s, out := oneWay(fromClient, cut(in, size), Options{MaxFrame: 1000})
				if !bytes.Equal(out, good) {
					t.Errorf("%s: %.100q came out", tt.name, out)
				}
				var e *Error
				if !errors.As(s.err, &e) || e.Client != fromClient || !errors.Is(e, tt.want) {
					t.Errorf("%s: error %v", tt.name, s.err)
				}
				own := s.end.upstream
				if fromClient {
					own = s.end.client
				}
				if own.code != tt.code || own.reason != e.Err.Error() {
					t.Errorf("%s: told %+v", tt.name, own)
				}
			}
		}
	}
}

func TestMessageWithinAnotherEndsTheSession(t *testing.T) {
	begun := join(frame(true, false, opText, "a"), frame(true, false, opContinuation, "b"), frame(true, true, 9, "ping"))
	s, out := oneWay(true, cut(join(begun, text(true, "c")), 0), Options{})
	if !bytes.Equal(out, begun) || !errors.Is(s.err, ErrProtocol) {
		t.Fatalf("%q, %v", out, s.err)
	}
}

// 32 MiB is the default: that many bytes are no violation, one more is, and the head
// alone tells.
func TestLongestFrame(t *testing.T) {
	head := []byte{0x82, 127, 0, 0, 0, 0, 0x02, 0, 0, 0} // 0x02000000 = 32 * 1024 * 1024
	s, out := oneWay(false, [][]byte{head}, Options{})
	if !bytes.Equal(out, head) || !errors.Is(s.err, ErrGone) {
		t.Errorf("%q, %v", out, s.err)
	}
	head[9] = 1
	s, out = oneWay(false, [][]byte{head}, Options{})
	if len(out) != 0 || !errors.Is(s.err, ErrTooLong) {
		t.Errorf("%q, %v", out, s.err)
	}
}

func TestCloseReasonFits(t *testing.T) {
	for _, tt := range []struct{ reason, want string }{
		{"short", "short"},
		{strings.Repeat("x", 123), strings.Repeat("x", 123)},
		{strings.Repeat("x", 124), strings.Repeat("x", 123)},
		{strings.Repeat("ü", 100), strings.Repeat("ü", 61)}, // 122 bytes; 123 would cut one
		{"a\xffb", "ab"},
	} {
		for _, masked := range []bool{true, false} {
			if got := stripClose(t, closing{1008, tt.reason}.frame(masked), nil, masked); got != (closing{1008, tt.want}) {
				t.Errorf("%q became %+v", tt.reason, got)
			}
		}
	}
}

// naive reads frames from the whole input at once. It returns how many bytes stand
// before the first that may not be there (or a close frame's end), the complete
// messages, and whether a message's payload up to there has secret in it.
func naive(p []byte, masked bool, most int, secret string) (valid int, messages []string, found bool) {
	open, payload, isText := false, "", false
	for {
		rest := p[valid:]
		if len(rest) < 2 {
			return valid, messages, found
		}
		op, fin, n, at := rest[0]&15, rest[0] >= 0x80, int(rest[1]&0x7f), 2
		isControl := op >= 8
		if rest[0]&0x70 != 0 || op > 10 || op > 2 && op < 8 || (rest[1] >= 0x80) != masked ||
			isControl && (!fin || n > 125) || !isControl && (op == 0) != open {
			return valid, messages, found
		}
		more := map[int]int{126: 2, 127: 8}[n]
		if more > 0 && len(rest) >= 2+more {
			n = 0
			for _, b := range rest[2 : 2+more] {
				n = n<<8 | int(b)
			}
		}
		at += more
		if masked {
			at += 4
		}
		if len(rest) < at || n < 0 || n > most || isControl && len(rest) < at+n {
			return valid, messages, found
		}
		data := bytes.Clone(rest[at:min(len(rest), at+n)])
		for i := range data {
			if masked {
				data[i] ^= rest[at-4+i%4]
			}
		}
		if isControl {
			found = found || strings.Contains(string(data), secret)
		} else {
			if op != 0 {
				payload, isText = "", op == opText
			}
			payload += string(data)
			open = !fin
			found = found || strings.Contains(payload, secret)
		}
		if len(rest) < at+n {
			return len(p), messages, found
		}
		valid += at + n
		if op == opClose {
			return valid, messages, found
		}
		if !isControl && fin && isText {
			messages = append(messages, payload)
		}
	}
}

const testSecret = "sk-secret-sk-sec" // 16 bytes that begin and end alike

// Whatever comes, in whatever pieces, what comes out is what came in until the
// violation, the messages are those of the naive reader, and the secret never passes.
func FuzzFrames(f *testing.F) {
	for _, masked := range []bool{true, false} {
		f.Add(join(text(masked, `{"type":"a"}`), frame(masked, true, opBinary, "bin"), closeFrame(masked, 1000, "bye")), masked, uint8(1))
		f.Add(join(frame(masked, false, opText, "a"), frame(masked, true, 9, "p"), frame(masked, false, opContinuation, ""), frame(masked, true, opContinuation, "b")), masked, uint8(3))
		f.Add(text(masked, strings.Repeat("long", 100)), masked, uint8(100))
		f.Add(join(frame(masked, false, opText, testSecret[:9]), frame(masked, true, opContinuation, testSecret[9:])), masked, uint8(2))
		f.Add(text(masked, "sk-secret-sk-secret-sk-sec"), masked, uint8(0))
		f.Add([]byte("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), masked, uint8(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, fromClient bool, size uint8) {
		const most = 1 << 16
		valid, want, found := naive(in, fromClient, most, testSecret)
		var got []string
		hear := func(m []byte) error { got = append(got, string(m)); return nil }
		o := Options{MaxFrame: most, Up: hear, Down: hear}
		_, out := oneWay(fromClient, cut(in, int(size)), o)
		stripClose(t, out, in[:valid], fromClient)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("heard %q instead of %q", got, want)
		}
		if fromClient {
			return
		}
		o.Withheld = [][]byte{[]byte("something else altogether"), []byte(testSecret)}
		s, out := oneWay(false, cut(in, int(size)), o)
		if errors.Is(s.err, ErrWithheld) != found {
			t.Fatalf("secret there: %t; %v", found, s.err)
		}
		if !found {
			stripClose(t, out, in[:valid], false)
		} else if _, _, passed := naive(out, false, most, testSecret); passed {
			t.Fatalf("the secret came out: %q", out)
		}
	})
}

func FuzzCloseReason(f *testing.F) {
	f.Add("x")
	f.Add(strings.Repeat("ж", 90))
	f.Fuzz(func(t *testing.T, reason string) {
		c := stripClose(t, closing{1001, reason}.frame(true), nil, true)
		if len(c.reason) > 123 || !utf8.ValidString(c.reason) {
			t.Fatalf("%q", c.reason)
		}
	})
}
