package realtime

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d} // the mask of RFC 6455, 5.7

// frame makes a frame as a server sends it, or, masked, as a client does.
func frame(masked, fin bool, op byte, payload string) []byte {
	b := []byte{op, 0}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, testMask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^testMask[i%4])
	}
	return b
}

func text(masked bool, s string) []byte { return frame(masked, true, opText, s) }

func closeFrame(masked bool, code uint16, reason string) []byte {
	return frame(masked, true, opClose, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// script is a connection that gives out its pieces, one a read, and keeps what it
// gets.
type script struct {
	pieces [][]byte
	got    bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}
func (s *script) Write(p []byte) (int, error) { return s.got.Write(p) }
func (s *script) Close() error                { return nil }

// cut makes pieces of n bytes; one piece when n is 0.
func cut(p []byte, n int) (pieces [][]byte) {
	for n > 0 && len(p) > n {
		pieces, p = append(pieces, p[:n]), p[n:]
	}
	if len(p) > 0 {
		pieces = append(pieces, p)
	}
	return pieces
}

// oneWay runs the pieces through one direction of a session and returns it with what
// came out.
func oneWay(fromClient bool, pieces [][]byte, o Options) (*session, []byte) {
	from, to := &script{pieces: pieces}, &script{}
	if fromClient {
		s := newSession(from, to, o.withDefaults())
		s.up.run()
		return s, to.got.Bytes()
	}
	s := newSession(to, from, o.withDefaults())
	s.down.run()
	return s, to.got.Bytes()
}

// stripClose takes a close frame that the session made off the end of what came out
// behind want.
func stripClose(t testing.TB, got, want []byte, masked bool) closing {
	t.Helper()
	if !bytes.HasPrefix(got, want) {
		t.Fatalf("%d bytes came out, which do not begin with the %d that should:\n%.200q\n%.200q", len(got), len(want), got, want)
	}
	rest := got[len(want):]
	if len(rest) == 0 {
		return closing{}
	}
	f := frames{masked: masked, most: maxControl, open: true}
	h, ok, err := f.next(rest)
	if err != nil || !ok || h.op != opClose || h.size+int(h.length) != len(rest) || h.length < 2 {
		t.Fatalf("behind what should come out stands %q, which is no close frame", rest)
	}
	p := bytes.Clone(rest[h.size:])
	unmask(p, h.mask, 0)
	return closing{binary.BigEndian.Uint16(p), string(p[2:])}
}

// result is what Run returned.
type result struct {
	stats Stats
	err   error
}

const testPatience = time.Minute
