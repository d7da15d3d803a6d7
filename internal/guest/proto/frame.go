package proto

import (
	"encoding/binary"
	"io"
)

// FrameKind says what an exec frame carries.
type FrameKind uint8

// The kinds of exec frames. The host sends the first two, the guest the others.
const (
	FrameStdin    FrameKind = iota // bytes for the command's standard input
	FrameStdinEnd                  // no payload: end of input
	FrameStdout                    // bytes the command wrote
	FrameStderr
	FrameExit // JSON of an ExecExit; the last frame
)

// MaxFrame bounds an exec frame's payload, in bytes.
const MaxFrame = 64 << 10

// frameHeader is the kind and the big-endian length of the payload.
const frameHeader = 1 + 4

// WriteFrame writes one frame in one Write. payload has at most MaxFrame bytes.
func WriteFrame(w io.Writer, kind FrameKind, payload []byte) error {
	if len(payload) > MaxFrame {
		return ErrTooLarge
	}
	buf := make([]byte, frameHeader, frameHeader+len(payload))
	buf[0] = byte(kind)
	binary.BigEndian.PutUint32(buf[1:], uint32(len(payload)))
	_, err := w.Write(append(buf, payload...))
	return err
}

// ReadFrame reads one frame. The payload is in buf, which must have room for
// MaxFrame bytes, and is valid until buf is used again.
func ReadFrame(r io.Reader, buf []byte) (FrameKind, []byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxFrame {
		return 0, nil, ErrTooLarge
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return 0, nil, err
	}
	return FrameKind(head[0]), buf[:n], nil
}
