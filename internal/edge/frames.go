package edge

import (
	"bufio"
	"encoding/binary"
)

// Opcodes of WebSocket frames (RFC 6455, 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const maxControlPayload = 125

// frameHead is the part of a frame before its payload.
type frameHead struct {
	bits   byte // FIN, the reserved bits and the opcode
	masked bool
	mask   [4]byte
	size   int    // of the head itself, in bytes
	length uint64 // of the payload, in bytes
}

func (h frameHead) opcode() byte  { return h.bits & 0x0f }
func (h frameHead) fin() bool     { return h.bits&0x80 != 0 }
func (h frameHead) control() bool { return h.bits&0x08 != 0 }

// plain says whether the frame is one that may be sent when no extension was
// agreed on: no reserved bits or opcodes, control frames short and whole, no
// length that is no number. Clients mask their frames, servers do not.
func (h frameHead) plain(fromClient bool) bool {
	if h.bits&0x70 != 0 || h.masked != fromClient || h.length>>63 != 0 {
		return false
	}
	if h.control() {
		return h.fin() && h.length <= maxControlPayload && h.opcode() <= opPong
	}
	return h.opcode() <= 0x2
}

// unmask copies payload, the beginning of the frame's, into dst as it is meant.
func (h frameHead) unmask(dst, payload []byte) []byte {
	for i, b := range payload {
		dst[i] = b ^ h.mask[i&3]
	}
	return dst[:len(payload)]
}

// headSize is the size of a head that begins with these two bytes.
func headSize(second byte) int {
	size := 2
	switch second & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if second&0x80 != 0 {
		size += 4
	}
	return size
}

// parseHead reads the head at the beginning of b. ok is false when b ends before
// the head does.
func parseHead(b []byte) (h frameHead, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h = frameHead{bits: b[0], masked: b[1]&0x80 != 0, size: headSize(b[1]), length: uint64(b[1] & 0x7f)}
	if len(b) < h.size {
		return h, false
	}
	switch h.length {
	case 126:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.length = binary.BigEndian.Uint64(b[2:])
	}
	if h.masked {
		h.mask = [4]byte(b[h.size-4:])
	}
	return h, true
}

// peekHead waits for a head and leaves it unread. On an error, what there is of
// it is still to be read.
func peekHead(in *bufio.Reader) (frameHead, error) {
	b, err := in.Peek(2)
	if err != nil {
		return frameHead{}, err
	}
	if b, err = in.Peek(headSize(b[1])); err != nil {
		return frameHead{}, err
	}
	h, _ := parseHead(b)
	return h, nil
}

// peekChunk waits until at least n bytes are there (or the stream ends, which is
// the error) and returns all that are, unread.
func peekChunk(in *bufio.Reader, n int) ([]byte, error) {
	_, err := in.Peek(n)
	chunk, _ := in.Peek(in.Buffered())
	return chunk, err
}

// passage follows one direction of a WebSocket, whose bytes pass as they are, to
// know where its frames and messages end.
type passage struct {
	fromClient bool
	left       uint64 // of the current frame's payload, in bytes
	open       bool   // a message in fragments is under way
	lost       bool   // these are no frames that we know; the rest is bytes
	pinged     bool   // a ping was among them
}

// admit makes h, the next head, the current frame. It returns false when that is
// no frame that may stand there; from then on the passage is lost.
func (p *passage) admit(h frameHead) bool {
	if !h.plain(p.fromClient) || !h.control() && (h.opcode() == opContinuation) != p.open {
		p.lost = true
		return false
	}
	if !h.control() {
		p.open = !h.fin()
	}
	p.pinged = p.pinged || h.opcode() == opPing
	p.left = h.length
	return true
}

// walk follows chunk and returns how much of it may pass now: all but a head that
// is cut off by its end.
func (p *passage) walk(chunk []byte) int {
	n := 0
	for n < len(chunk) && !p.lost {
		if p.left > 0 {
			step := min(p.left, uint64(len(chunk)-n))
			p.left -= step
			n += int(step)
			continue
		}
		h, ok := parseHead(chunk[n:])
		if !ok {
			return n
		}
		if p.admit(h) {
			n += h.size
		}
	}
	return len(chunk)
}

// between says whether another frame may stand here.
func (p *passage) between() bool { return !p.lost && p.left == 0 }

// serverFrame makes one whole, unmasked frame.
func serverFrame(opcode byte, payload []byte) []byte {
	frame := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	return append(frame, payload...)
}

// closeFrame makes a close frame with a reason of at most maxCloseReason bytes.
func closeFrame(code uint16, reason string) []byte {
	return serverFrame(opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}
