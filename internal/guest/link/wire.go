package link

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// SessionID names a session; the host draws it at random. The zero ID asks for
// a fresh session.
type SessionID [16]byte

func (id SessionID) String() string { return hex.EncodeToString(id[:4]) }

var magic = [4]byte{'M', 'W', 'L', 'K'}

// Versions is the range of protocol versions that one end speaks.
type Versions struct{ Min, Max uint16 }

// settle picks the highest version that both ranges hold.
func (v Versions) settle(o Versions) (uint16, bool) {
	top := min(v.Max, o.Max)
	return top, top >= max(v.Min, o.Min) && o.Min <= o.Max
}

// hello is the first thing on a new transport, from guest to host.
type hello struct {
	versions Versions
	session  SessionID
	received uint64 // bytes of the session's stream that arrived so far
}

const helloSize = 4 + 2 + 2 + 16 + 8

func (h hello) encode() []byte {
	b := append(make([]byte, 0, helloSize), magic[:]...)
	b = binary.BigEndian.AppendUint16(b, h.versions.Min)
	b = binary.BigEndian.AppendUint16(b, h.versions.Max)
	b = append(b, h.session[:]...)
	return binary.BigEndian.AppendUint64(b, h.received)
}

func readHello(r io.Reader) (hello, error) {
	var b [helloSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return hello{}, fmt.Errorf("read link handshake: %w", err)
	}
	if [4]byte(b[:4]) != magic {
		return hello{}, fmt.Errorf("%w: handshake starts with %x", ErrProtocol, b[:4])
	}
	return hello{
		versions: Versions{binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])},
		session:  SessionID(b[8:24]),
		received: binary.BigEndian.Uint64(b[24:]),
	}, nil
}

// verdict is what an answer says about the session that hello asked for.
type verdict uint8

const (
	resumed verdict = 1 // the session goes on
	fresh   verdict = 2 // a new session begins, under a new ID
	refused verdict = 3 // none; the message says why
)

// answer is the host's reply to a hello.
type answer struct {
	verdict  verdict
	version  uint16
	session  SessionID
	received uint64
	message  string
}

const (
	answerSize = 4 + 1 + 2 + 16 + 8 + 2
	maxMessage = 512
)

func (a answer) encode() []byte {
	message := a.message[:min(len(a.message), maxMessage)]
	b := append(make([]byte, 0, answerSize+len(message)), magic[:]...)
	b = append(b, byte(a.verdict))
	b = binary.BigEndian.AppendUint16(b, a.version)
	b = append(b, a.session[:]...)
	b = binary.BigEndian.AppendUint64(b, a.received)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	return append(b, message...)
}

func readAnswer(r io.Reader) (answer, error) {
	var b [answerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return answer{}, fmt.Errorf("read link answer: %w", err)
	}
	if [4]byte(b[:4]) != magic {
		return answer{}, fmt.Errorf("%w: answer starts with %x", ErrProtocol, b[:4])
	}
	a := answer{
		verdict:  verdict(b[4]),
		version:  binary.BigEndian.Uint16(b[5:]),
		session:  SessionID(b[7:23]),
		received: binary.BigEndian.Uint64(b[23:]),
	}
	n := binary.BigEndian.Uint16(b[31:])
	if n > maxMessage || a.verdict < resumed || a.verdict > refused {
		return answer{}, fmt.Errorf("%w: malformed answer", ErrProtocol)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return answer{}, fmt.Errorf("read link answer: %w", err)
	}
	a.message = string(message)
	return a, nil
}

// frame is the head of every frame after the handshake: the length of the
// payload that follows it, and how many bytes of the other direction's stream
// have arrived. A frame without payload is a mere acknowledgement.
type frame struct {
	length uint32
	ack    uint64
}

const frameSize = 4 + 8

func (f frame) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, f.length)
	return binary.BigEndian.AppendUint64(b, f.ack)
}

var errFrameTooLong = errors.New("frame too long")

// parseFrame reads a frame's head from the first frameSize bytes of b.
func parseFrame(b []byte) (frame, error) {
	f := frame{length: binary.BigEndian.Uint32(b), ack: binary.BigEndian.Uint64(b[4:])}
	if f.length > MaxPayload {
		return f, fmt.Errorf("%w: %w (%d bytes)", ErrProtocol, errFrameTooLong, f.length)
	}
	return f, nil
}
