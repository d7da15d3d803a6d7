package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // registers the one algorithm we use
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// How contents are cut, in bytes. Readers need none of this.
const (
	cdcName   = "fastcdc-v1.0.0"
	cdcMin    = 16 << 10
	cdcNormal = 64 << 10
	cdcMax    = 256 << 10
	// blockSize is for databases: a page that changed changes one block.
	blockSize = 16 << 10
)

// hashBlock is the unit of a contentHash, in bytes.
const hashBlock = 64 << 10

// contentHasher makes a contentHash: keyed BLAKE3 over every block that is not all
// zeros, each behind its number, and the size. So it does not depend on how the
// content is cut, or on whether zeros are stored or a hole.
type contentHasher struct {
	pool  *hasherPool
	h     *blake3.Hasher
	part  []byte // of a block, shorter than one
	block uint64 // its number
	size  uint64
}

func newContentHasher(keys keyring) *contentHasher {
	return &contentHasher{pool: keys.content, h: keys.content.get()}
}

func (c *contentHasher) write(data []byte) {
	c.size += uint64(len(data))
	for len(data) > 0 {
		if len(c.part) == 0 && len(data) >= hashBlock {
			c.full(data[:hashBlock])
			data = data[hashBlock:]
			continue
		}
		n := min(hashBlock-len(c.part), len(data))
		c.part = append(c.part, data[:n]...)
		data = data[n:]
		if len(c.part) == hashBlock {
			c.full(c.part)
			c.part = c.part[:0]
		}
	}
}

// hole is write with n zeros.
func (c *contentHasher) hole(n int64) {
	if n <= 0 {
		return
	}
	first := min(n, int64(hashBlock-len(c.part))%hashBlock)
	c.write(zeros[:first])
	n -= first
	c.block += uint64(n / hashBlock)
	c.size += uint64(n / hashBlock * hashBlock)
	c.write(zeros[:n%hashBlock])
}

func (c *contentHasher) full(block []byte) {
	if !allZero(block) {
		c.h.Write(binary.LittleEndian.AppendUint64(nil, c.block))
		c.h.Write(block)
	}
	c.block++
}

// sum ends the content; the hasher is of no use afterwards.
func (c *contentHasher) sum() (out contentHash) {
	if len(c.part) > 0 {
		c.full(c.part)
		c.part = c.part[:0]
	}
	c.h.Write(binary.LittleEndian.AppendUint64(nil, c.size))
	copy(out[:], c.h.Sum(nil))
	c.pool.put(c.h)
	c.h = nil
	return out
}

var zeros [hashBlock]byte

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// cutter cuts contents into chunks. One goroutine uses it.
type cutter struct {
	cdc   *chunkers.Chunker
	block []byte
}

func newCutter(keys keyring) (*cutter, error) {
	cdc, err := chunkers.NewChunker(cdcName, bytes.NewReader(nil),
		&chunkers.ChunkerOpts{MinSize: cdcMin, NormalSize: cdcNormal, MaxSize: cdcMax, Key: keys.cut[:]})
	if err != nil {
		return nil, fmt.Errorf("cut files: %w", err)
	}
	return &cutter{cdc, make([]byte, blockSize)}, nil
}

// errShort: the file has become shorter while it was read.
var errShort = errors.New("it became shorter while it was read")

// cut gives the first size bytes of a file to chunk and hole, in order. What chunk
// is given is only lent.
func (c *cutter) cut(ctx context.Context, f *os.File, size int64, chunk func([]byte) error, hole func(int64) error) error {
	next, unit := c.contents, int64(1)
	if isDatabase(f) {
		next, unit = c.blocks, blockSize
	}
	emit := func(data []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if allZero(data) {
			return hole(int64(len(data)))
		}
		return chunk(data)
	}
	for at := int64(0); at < size; {
		from, to, err := extent(f, at, size)
		if err != nil {
			return err
		}
		from, to = max(at, from-from%unit), min(size, (to+unit-1)/unit*unit)
		if from > at {
			if err := hole(from - at); err != nil {
				return err
			}
		}
		if to > from {
			if err := next(io.NewSectionReader(f, from, to-from), to-from, emit); err != nil {
				return err
			}
		}
		at = to
	}
	return nil
}

// contents cuts where the content says.
func (c *cutter) contents(r io.Reader, size int64, emit func([]byte) error) error {
	c.cdc.Reset(r)
	for size > 0 {
		data, err := c.cdc.Next()
		if err != nil && err != io.EOF {
			return fmt.Errorf("read: %w", err)
		}
		if len(data) == 0 {
			return errShort
		}
		size -= int64(len(data))
		if err := emit(data); err != nil {
			return err
		}
	}
	return nil
}

// blocks cuts every blockSize bytes.
func (c *cutter) blocks(r io.Reader, size int64, emit func([]byte) error) error {
	for size > 0 {
		data := c.block[:min(size, blockSize)]
		if _, err := io.ReadFull(r, data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errShort
		} else if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		size -= int64(len(data))
		if err := emit(data); err != nil {
			return err
		}
	}
	return nil
}

// isDatabase recognizes SQLite's databases and write-ahead logs, whose pages
// change in place.
func isDatabase(f *os.File) bool {
	var head [16]byte
	if n, _ := f.ReadAt(head[:], 0); n < len(head) {
		return false
	}
	if string(head[:]) == "SQLite format 3\x00" {
		return true
	}
	magic := binary.BigEndian.Uint32(head[:])
	return magic == 0x377f0682 || magic == 0x377f0683
}

// extent returns the next piece of a file from at on that is not a hole, or
// size, size.
func extent(f *os.File, at, size int64) (from, to int64, err error) {
	from, err = f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err != nil {
		return at, size, nil // a file system that knows no holes
	}
	to, err = f.Seek(from, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("find the end of data: %w", err)
	}
	return min(from, size), min(to, size), nil
}
