package realtime

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Opcodes of frames (RFC 6455, 5.2). 3 to 7 and 11 to 15 are reserved.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPong         = 0xA
)

// Codes of close frames (RFC 6455, 7.4.1).
const (
	codeNormal    = 1000
	codeGoingAway = 1001
	codeProtocol  = 1002
	codePolicy    = 1008
	codeTooBig    = 1009
	codeError     = 1011
)

const (
	maxControl = 125            // bytes of a control frame's payload (RFC 6455, 5.5)
	maxReason  = maxControl - 2 // bytes of a close frame's reason
)

// head is what comes before a frame's payload.
type head struct {
	fin    bool
	op     byte
	mask   [4]byte // zeros when there is none
	size   int     // of the head itself, in bytes
	length int64   // of the payload, in bytes
}

func (h head) control() bool { return h.op&0x8 != 0 }

// frames knows what may come next in one direction.
type frames struct {
	masked bool  // a client's are, a server's are not
	most   int64 // bytes of a payload
	open   bool  // a message in fragments is under way
}

// next reads the head at the beginning of p; ok is false when p ends before it does.
// What no sequel can mend is an error as soon as it is there.
func (f *frames) next(p []byte) (h head, ok bool, err error) {
	if len(p) < 2 {
		return h, false, nil
	}
	if err := f.check(p[0], p[1]); err != nil {
		return h, false, err
	}
	h = head{fin: p[0]&0x80 != 0, op: p[0] & 0x0f, size: 2, length: int64(p[1] & 0x7f)}
	switch h.length {
	case 126:
		h.size += 2
	case 127:
		h.size += 8
	}
	if f.masked {
		h.size += 4
	}
	if len(p) < h.size {
		return h, false, nil
	}
	switch h.length {
	case 126:
		h.length = int64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		h.length = int64(binary.BigEndian.Uint64(p[2:]))
	}
	if f.masked {
		h.mask = [4]byte(p[h.size-4 : h.size])
	}
	if h.length < 0 {
		return h, false, fmt.Errorf("%w: a length of more than 63 bits", ErrProtocol)
	}
	if h.length > f.most {
		return h, false, fmt.Errorf("%w: %d bytes; at most %d may be", ErrTooLong, h.length, f.most)
	}
	if !h.control() {
		f.open = !h.fin
	}
	return h, true, nil
}

// check looks at a head's first two bytes.
func (f *frames) check(first, second byte) error {
	op := first & 0x0f
	wrong := ""
	switch control := op&0x8 != 0; {
	case first&0x70 != 0:
		wrong = "a reserved bit"
	case op > opBinary && op < opClose || op > opPong:
		wrong = "an unknown kind of frame"
	case f.masked && second&0x80 == 0:
		wrong = "a client's frame without a mask"
	case !f.masked && second&0x80 != 0:
		wrong = "a server's frame with a mask"
	case control && first&0x80 == 0:
		wrong = "a control frame in fragments"
	case control && second&0x7f > maxControl:
		wrong = "a long control frame"
	case !control && op == opContinuation && !f.open:
		wrong = "a continuation of nothing"
	case !control && op != opContinuation && f.open:
		wrong = "a message within another"
	}
	if wrong == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrProtocol, wrong)
}

// unmask applies a mask to p, which begins pos bytes into a payload.
func unmask(p []byte, mask [4]byte, pos int64) {
	var turned [8]byte
	for i := range turned {
		turned[i] = mask[(pos+int64(i))&3]
	}
	wide := binary.NativeEndian.Uint64(turned[:])
	for len(p) >= 8 {
		binary.NativeEndian.PutUint64(p, binary.NativeEndian.Uint64(p)^wide)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= turned[i]
	}
}

// closing is what a close frame says.
type closing struct {
	code   uint16
	reason string
}

// frame makes the close frame, masked when it goes to a server.
func (c closing) frame(masked bool) []byte {
	reason := strings.ToValidUTF8(c.reason, "")
	if len(reason) > maxReason {
		n := maxReason
		for !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	payload := append(binary.BigEndian.AppendUint16(nil, c.code), reason...)
	frame := []byte{0x80 | opClose, byte(len(payload))}
	if masked {
		var mask [4]byte
		_, _ = rand.Read(mask[:]) // which never fails
		frame[1] |= 0x80
		frame = append(frame, mask[:]...)
		unmask(payload, mask, 0) // masking is the same
	}
	return append(frame, payload...)
}
