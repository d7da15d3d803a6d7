package edge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/access"
)

const (
	challenge = `{"type":"event","event":"connect.challenge","payload":{}}`
	helloOK   = `{"type":"res","id":"1","ok":true,"payload":{"type":"hello-ok"}}`
	refused   = `{"type":"res","id":"1","ok":false,"error":{"code":"NOT_PAIRED","message":"pairing required","details":{"code":"PAIRING_REQUIRED","requestId":"r-1"}}}`
)

// relay runs everything through the gateway's direction of a line.
func relay(in io.Reader, explain func(string, string, string) (string, bool)) (string, error) {
	end := &recordingConn{}
	l := (&Edge{opts: Options{Explain: explain, Refused: func(access.Principal, string, string, string) {}}, stopping: context.Background()}).newLine(visit{agent: "main"}, end, nil)
	err := l.down(bufio.NewReader(in))
	if err == io.EOF {
		err = nil // the stream's own end
	}
	return string(end.written), err
}

// recordingConn keeps what is written to it.
type recordingConn struct {
	net.Conn
	written []byte
}

func (c *recordingConn) Write(p []byte) (int, error) {
	c.written = append(c.written, p...)
	return len(p), nil
}
func (c *recordingConn) SetWriteDeadline(time.Time) error { return nil }
func (c *recordingConn) Close() error                     { return nil }

func silent(string, string, string) (string, bool) { return "", false }

func text(s string) string { return string(serverFrame(opText, []byte(s))) }

func part(opcode byte, fin bool, s string) string {
	b := serverFrame(opcode, []byte(s))
	if !fin {
		b[0] &^= 0x80
	}
	return string(b)
}

func closing(code uint16, reason string) string {
	return string(serverFrame(opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...)))
}

func TestFramesPassUnchangedUnlessRefused(t *testing.T) {
	ping := string(serverFrame(opPing, []byte("p")))
	huge := `{"type":"res","ok":false,"x":"` + strings.Repeat("x", maxWatchedMessage) + `"}`
	for name, stream := range map[string]string{
		"good start":             text(challenge) + ping + text(helloOK) + text(refused),
		"another protocol":       text("hello") + text(refused),
		"binary":                 string(serverFrame(2, []byte{1})) + text(refused),
		"fragments":              part(opText, false, challenge[:9]) + ping + part(opContinuation, true, challenge[9:]) + text(helloOK),
		"too large to look at":   text(huge) + text(refused),
		"too large in fragments": part(opText, false, huge[:60000]) + part(opContinuation, false, huge[60000:]) + part(opContinuation, true, huge) + text(refused),
		"stray continuation":     part(opContinuation, true, "x") + text(refused),
		"text within text":       part(opText, false, "x") + text(refused),
		"masked":                 "\x81\x81\x00\x00\x00\x00x" + text(refused),
		"compressed":             "\xc1\x01x" + text(refused),
		"long ping":              part(opPing, true, strings.Repeat("x", 126)) + text(refused),
		"reserved opcode":        part(0xB, true, "x") + text(refused),
		"absurd length":          "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xffx",
		"cut in the head":        text(challenge) + "\x81\x7e\x01",
		"cut in the payload":     text(challenge) + text(helloOK)[:20],
		"close without reason":   text(challenge) + "\x88\x00",
		"no error in it":         text(`{"type":"res","ok":false}`) + text(`{"type":"res","ok":false,"error":7}`) + text(helloOK),
	} {
		for chunking, in := range map[string]io.Reader{"whole": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream))} {
			got, err := relay(in, explainForTest)
			if got != stream {
				t.Errorf("%s, %s: %d bytes became %d (%v)", name, chunking, len(stream), len(got), err)
			}
		}
	}
}

func TestRefusalsAreRewritten(t *testing.T) {
	for name, stream := range map[string]string{
		"whole":     text(challenge) + text(refused) + closing(1008, "pairing required"),
		"fragments": text(challenge) + part(opText, false, refused[:30]) + part(opContinuation, true, refused[30:]) + closing(1008, ""),
	} {
		got, err := relay(strings.NewReader(stream), explainForTest)
		if err != nil || strings.Count(got, "moltworker device approve r-1") != 2 || !strings.Contains(got, "\x03\xf0This browser") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if !strings.Contains(got, "[pairing required (requestId: r-1)]") {
			t.Errorf("%s: OpenClaw's page cannot read %q", name, got)
		}
	}
}

// The guest chooses request IDs, and people copy commands into their shells.
func TestDangerousRequestIDsAreNotRepeated(t *testing.T) {
	for _, id := range []string{"x; rm -rf ~", "$(id)", "`id`", "-x", "a b", "", strings.Repeat("x", 200), "a\\nb"} {
		stream := text(strings.Replace(refused, "r-1", id, 1))
		seen := "unset"
		_, _ = relay(strings.NewReader(stream), func(_, requestID, _ string) (string, bool) { seen = requestID; return "no", true })
		if seen != "" {
			t.Errorf("%q was passed on as %q", id, seen)
		}
	}
}

func TestCloseReasonFits(t *testing.T) {
	id := "0b0a7c53-94d4-4f5e-9f9b-0a4b8c1d2e3f"
	long := strings.Repeat("ü", 100)
	for _, tt := range []struct{ words, id, agent, want string }{
		{"short", id, "main", "short"},
		{long, id, "main", "approve with: moltworker device approve " + id},
		{long, id, "bob", "approve with: moltworker device approve " + id + " --agent bob"},
		{long, "", "main", strings.Repeat("ü", 60) + "…"},
		{strings.Repeat("word ", 40), "", "main", strings.TrimSpace(strings.Repeat("word ", 24)) + "…"},
		{"bad \xff byte", "", "main", "bad  byte"},
	} {
		if got := closeReason(tt.words, tt.id, tt.agent); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// Any stream passes unchanged when nothing is explained; when everything is, the
// result stays a stream of which every close reason is short and valid.
func FuzzFrameWatch(f *testing.F) {
	f.Add([]byte(text(challenge)+text(refused)+closing(1008, "x")), uint8(0))
	f.Add([]byte(part(opText, false, refused[:5])+part(opPing, true, "x")+part(opContinuation, true, refused[5:])), uint8(1))
	f.Add([]byte("\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, chunk uint8) {
		in := func() io.Reader {
			if chunk%2 == 1 {
				return iotest.OneByteReader(bytes.NewReader(stream))
			}
			return bytes.NewReader(stream)
		}
		if got, err := relay(in(), silent); got != string(stream) || err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%q became %q (%v)", stream, got, err)
		}
		long := func(code, id, _ string) (string, bool) { return code + id + strings.Repeat("ж", 70), true }
		got, _ := relay(in(), long)
		if len(got) > 4*len(stream)+1024 {
			t.Fatalf("%d bytes became %d", len(stream), len(got))
		}
		if reason := closeReason(string(stream), "", "main"); len(reason) > maxCloseReason || !utf8.ValidString(reason) {
			t.Fatalf("reason %q", reason)
		}
	})
}
