package cache

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// A file of the cache is
//
//	magic   8 bytes: "mwansw1" and 'p' (plain) or 's' (sealed)
//	salt    16 random bytes
//	segment the head, as JSON
//	segment ... of the body, at least one; all but the last are full
//
// and a segment is the length of its content as 4 bytes, big-endian, the content, and
// a tag: of a plain file the CRC-32C of (key, nonce, content), 4 bytes; of a sealed
// one what XChaCha20-Poly1305 makes of it, with the key of the request as additional
// data, 16 bytes. The nonce is the salt, and the number of the segment as 8 bytes,
// big-endian, whose first is 1 for the last segment. So no segment can be moved,
// left out or taken from another file unnoticed.
const (
	magicPlain  = "mwansw1p"
	magicSealed = "mwansw1s"
	saltSize    = 16
	maxSegment  = 64 << 10  // bytes of body in a segment
	maxHead     = 256 << 10 // bytes of the head
)

var errDamaged = errors.New("a cached answer is damaged")

// sealer makes and checks tags.
type sealer struct{ aead cipher.AEAD } // nil: plain

func newSealer(key []byte) (sealer, error) {
	if key == nil {
		return sealer{}, nil
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return sealer{}, fmt.Errorf("use the sealing key: %w", err)
	}
	return sealer{aead}, nil
}

func (s sealer) magic() string {
	if s.aead == nil {
		return magicPlain
	}
	return magicSealed
}

func (s sealer) tagSize() int {
	if s.aead == nil {
		return crc32.Size
	}
	return s.aead.Overhead()
}

// segments numbers the segments of one file.
type segments struct {
	sealer
	key   Key
	nonce [saltSize + 8]byte
	next  uint64
	buf   []byte
}

func (g *segments) step(last bool) {
	binary.BigEndian.PutUint64(g.nonce[saltSize:], g.next)
	if last {
		g.nonce[saltSize] = 1
	}
	g.next++
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (g *segments) sum(content []byte) uint32 {
	sum := crc32.Update(0, castagnoli, g.key[:])
	sum = crc32.Update(sum, castagnoli, g.nonce[:])
	return crc32.Update(sum, castagnoli, content)
}

// begin writes what stands before the segments.
func (g *segments) begin(w io.Writer) error {
	rand.Read(g.nonce[:saltSize]) // never fails
	_, err := w.Write(append([]byte(g.magic()), g.nonce[:saltSize]...))
	return err
}

// write adds a segment.
func (g *segments) write(w io.Writer, content []byte, last bool) error {
	g.step(last)
	g.buf = binary.BigEndian.AppendUint32(g.buf[:0], uint32(len(content)))
	if g.aead != nil {
		g.buf = g.aead.Seal(g.buf, g.nonce[:], content, g.key[:])
	} else {
		g.buf = append(g.buf, content...)
		g.buf = binary.BigEndian.AppendUint32(g.buf, g.sum(content))
	}
	_, err := w.Write(g.buf)
	return err
}

// open reads what stands before the segments.
func (g *segments) open(r io.Reader) error {
	var lead [8 + saltSize]byte
	if _, err := io.ReadFull(r, lead[:]); err != nil || string(lead[:8]) != g.magic() {
		return errDamaged
	}
	copy(g.nonce[:], lead[8:])
	return nil
}

// read returns the next segment, of at most limit bytes, good until the next call.
func (g *segments) read(r io.Reader, limit int, last bool) ([]byte, error) {
	g.step(last)
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, errDamaged
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > uint32(limit) {
		return nil, errDamaged
	}
	size := int(n) + g.tagSize()
	if cap(g.buf) < size {
		g.buf = make([]byte, size)
	}
	g.buf = g.buf[:size]
	if _, err := io.ReadFull(r, g.buf); err != nil {
		return nil, errDamaged
	}
	if g.aead != nil {
		content, err := g.aead.Open(g.buf[:0], g.nonce[:], g.buf, g.key[:])
		if err != nil {
			return nil, errDamaged
		}
		return content, nil
	}
	if binary.BigEndian.Uint32(g.buf[n:]) != g.sum(g.buf[:n]) {
		return nil, errDamaged
	}
	return g.buf[:n], nil
}
