package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of the format, in bytes or counts.
const (
	maxRaw        = 4 << 20 // what one chunk may hold
	maxStored     = maxRaw + sealOverhead + 1
	maxPackChunks = 1 << 16
	maxPack       = 16 << 20 // a pack
	maxFooter     = maxPack / 2
	footerTail    = 4 // the footer's length, at the very end
)

// What a chunk holds. A capital letter says that it is lost: a repair could not
// bring it back, and its place is kept.
const (
	chunkData    = 'd'
	chunkSegment = 's'
	lostData     = 'D'
	lostSegment  = 'S'
)

// lost returns the kind of a lost chunk of the given kind.
func lost(kind byte) byte { return kind &^ 0x20 }

// found undoes lost.
func found(kind byte) byte { return kind | 0x20 }

func isLost(kind byte) bool { return kind == lostData || kind == lostSegment }

// chunkInfo is what a footer says of a chunk.
type chunkInfo struct {
	id     chunkID
	stored uint32 // bytes in the pack
	raw    uint32 // bytes it holds
	kind   byte
}

// footer is the table of a pack's chunks, in their order.
type footer struct {
	chunks  []chunkInfo
	offsets []uint32 // of each chunk in the pack, and of the footer
}

var errFooter = errors.New("its table is not well formed")

const footerVersion = 1

// encodeFooter is what is sealed at the end of a pack.
func encodeFooter(chunks []chunkInfo) []byte {
	out := make([]byte, 0, 8+len(chunks)*40)
	out = append(out, footerVersion)
	out = binary.AppendUvarint(out, uint64(len(chunks)))
	for _, c := range chunks {
		out = append(out, c.kind)
		out = append(out, c.id[:]...)
		out = binary.AppendUvarint(out, uint64(c.stored))
		out = binary.AppendUvarint(out, uint64(c.raw))
	}
	return out
}

func decodeFooter(data []byte) (*footer, error) {
	in := input{rest: data}
	if in.byte() != footerVersion {
		return nil, fmt.Errorf("%w: unknown version", errFooter)
	}
	n := in.count(maxPackChunks)
	f := &footer{offsets: make([]uint32, 1, min(n, len(data)/35)+1)}
	total := uint32(0)
	for range n {
		c := chunkInfo{kind: in.byte()}
		copy(c.id[:], in.bytes(keySize))
		c.stored = uint32(in.count(maxStored))
		c.raw = uint32(in.count(maxRaw))
		if in.bad || (found(c.kind) != chunkData && found(c.kind) != chunkSegment) {
			return nil, errFooter
		}
		if total += c.stored; total > maxPack {
			return nil, errFooter
		}
		f.chunks = append(f.chunks, c)
		f.offsets = append(f.offsets, total)
	}
	if in.bad || len(in.rest) > 0 {
		return nil, errFooter
	}
	return f, nil
}

// input reads a byte string that may be hostile. After the first thing that is
// not there, or too large, bad is set and all it returns is zero.
type input struct {
	rest []byte
	bad  bool
}

func (in *input) byte() byte {
	b := in.bytes(1)
	if in.bad {
		return 0
	}
	return b[0]
}

// bytes returns the next n bytes, which alias the input.
func (in *input) bytes(n int) []byte {
	if in.bad || n < 0 || n > len(in.rest) {
		in.bad, in.rest = true, nil
		return nil
	}
	b := in.rest[:n]
	in.rest = in.rest[n:]
	return b
}

func (in *input) uvarint() uint64 {
	v, n := binary.Uvarint(in.rest)
	if n <= 0 || in.bad {
		in.bad, in.rest = true, nil
		return 0
	}
	in.rest = in.rest[n:]
	return v
}

func (in *input) varint() int64 {
	v, n := binary.Varint(in.rest)
	if n <= 0 || in.bad {
		in.bad, in.rest = true, nil
		return 0
	}
	in.rest = in.rest[n:]
	return v
}

// count reads a number of at most limit.
func (in *input) count(limit int) int {
	v := in.uvarint()
	if v > uint64(limit) {
		in.bad, in.rest = true, nil
		return 0
	}
	return int(v)
}

// text reads a length of at most limit and that many bytes.
func (in *input) text(limit int) string { return string(in.bytes(in.count(limit))) }
