package image

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// encoding is how an image's files are stored. The format is in the package
// comment.
type encoding struct{ compressed, sealed bool }

func (e encoding) plain() bool { return e == encoding{} }

func (e encoding) storedName(name string) string {
	switch {
	case e.compressed && e.sealed:
		return name + ".packed-sealed"
	case e.compressed:
		return name + ".packed"
	case e.sealed:
		return name + ".sealed"
	}
	return name
}

func (e encoding) magic() string {
	digit := map[bool]string{false: "0", true: "1"}
	return "mwimg1" + digit[e.compressed] + digit[e.sealed]
}

const (
	lastRecord = 1 << 31
	// maxBody is the largest body of a record: a chunk that does not get
	// smaller, with what zstd and the AEAD add.
	maxBody = chunkSize + 64<<10
)

// packing is one file's encoding with its key.
type packing struct {
	encoding
	aead cipher.AEAD // nil if not sealed
}

func newPacking(e encoding, imageKey []byte, name string) (packing, error) {
	p := packing{encoding: e}
	if !e.sealed {
		return p, nil
	}
	if len(imageKey) != keySize {
		return p, errors.New("no key to seal an image with")
	}
	var err error
	p.aead, err = newAEAD(imageKey, nil, "moltworker image 1 file "+e.storedName(name))
	return p, err
}

func (p packing) nonce(i uint64, last bool) []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint64(n[3:11], i)
	if last {
		n[11] = 1
	}
	return n
}

// pack writes what src holds to dst, and returns the file's description without
// its name. It works in the calling goroutine alone and calls between for every
// chunk.
func (p packing) pack(ctx context.Context, dst io.Writer, src io.Reader, between func()) (File, error) {
	var (
		file File
		crcs sums
		enc  *zstd.Encoder
	)
	if p.compressed {
		var err error
		enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(chunkSize), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			return file, err
		}
		defer enc.Close()
	}
	if _, err := io.WriteString(dst, p.magic()); err != nil {
		return file, err
	}
	file.Stored = int64(len(p.magic()))
	chunk, next := make([]byte, chunkSize), make([]byte, chunkSize)
	frame, record := make([]byte, 0, maxBody), make([]byte, 0, maxBody+64)
	n, err := readChunk(src, chunk)
	for i, last := uint64(0), false; err == nil && !last; i++ {
		if err := ctx.Err(); err != nil {
			return file, err
		}
		between()
		var after int
		if n == chunkSize {
			after, err = readChunk(src, next)
			if err != nil {
				break
			}
		}
		last = after == 0
		body := chunk[:n]
		if n > 0 {
			crcs = append(crcs, crc32.Checksum(body, castagnoli))
		}
		file.Size += int64(n)
		if p.compressed {
			frame = enc.EncodeAll(body, frame[:0])
			body = frame
		}
		record = p.appendRecord(record[:0], body, i, last)
		if _, err := dst.Write(record); err != nil {
			return file, err
		}
		file.Stored += int64(len(record))
		chunk, next, n = next, chunk, after
	}
	file.Sum = crcs.String()
	return file, err
}

// readChunk fills chunk as far as src goes.
func readChunk(src io.Reader, chunk []byte) (int, error) {
	n, err := io.ReadFull(src, chunk)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

func (p packing) appendRecord(record, body []byte, i uint64, last bool) []byte {
	length := uint32(len(body))
	if p.sealed {
		length += uint32(p.aead.Overhead())
	}
	if last {
		length |= lastRecord
	}
	record = binary.BigEndian.AppendUint32(record, length)
	if p.sealed {
		return p.aead.Seal(record, p.nonce(i, last), body, record[:4])
	}
	return append(record, body...)
}

// record is one as it was read.
type record struct {
	i      uint64
	last   bool
	header [4]byte
	body   []byte
}

// unpack reads a packed file of which want tells size and sum, and writes it to
// dst, all but chunks of zeros. It works on all cores.
// Errors: ErrCorrupt, and of writing to dst.
func (p packing) unpack(ctx context.Context, dst io.WriterAt, src io.Reader, want File) error {
	count := workers()
	crcs := newSums(want.Size)
	records := make(chan record)
	free := make(chan []byte, 2*count)
	for range cap(free) {
		free <- nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(records)
		return p.eachRecord(src, want, func(r *record) error {
			select {
			case records <- *r:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case r.body = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			return nil
		})
	})
	for range count {
		group.Go(func() error {
			open, err := p.newOpener(want)
			if err != nil {
				return err
			}
			defer open.close()
			for r := range records {
				chunk, err := open.chunk(r, crcs)
				if err != nil {
					return err
				}
				if !allZero(chunk) {
					if _, err := dst.WriteAt(chunk, int64(r.i)*chunkSize); err != nil {
						return err
					}
				}
				select {
				case free <- r.body:
				default: // nobody reads any more
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return want.checkSums(crcs)
}

// copyPlain writes what the packed file src holds to dst in order, in the calling
// goroutine alone.
func (p packing) copyPlain(ctx context.Context, dst io.Writer, src io.Reader, want File) error {
	crcs := newSums(want.Size)
	open, err := p.newOpener(want)
	if err != nil {
		return err
	}
	defer open.close()
	err = p.eachRecord(src, want, func(r *record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk, err := open.chunk(*r, crcs)
		if err != nil {
			return err
		}
		_, err = dst.Write(chunk)
		return err
	})
	if err != nil {
		return err
	}
	return want.checkSums(crcs)
}

func (f File) checkSums(crcs sums) error {
	if crcs.String() != f.Sum {
		return fmt.Errorf("%w: the contents of file %s have changed", ErrCorrupt, f.Name)
	}
	return nil
}

// eachRecord calls use with the records of src in order. use may put another
// buffer in the place of the record's body, to be filled next.
func (p packing) eachRecord(src io.Reader, want File, use func(*record) error) error {
	damaged := func(what string) error { return fmt.Errorf("%w: file %s %s", ErrCorrupt, want.Name, what) }
	magic := make([]byte, len(p.magic()))
	if _, err := io.ReadFull(src, magic); err != nil || string(magic) != p.magic() {
		return damaged("does not begin like a packed file")
	}
	chunks := uint64(max(1, (want.Size+chunkSize-1)/chunkSize))
	var r record
	for r.i = range chunks {
		if _, err := io.ReadFull(src, r.header[:]); err != nil {
			return damaged("ends early")
		}
		length := binary.BigEndian.Uint32(r.header[:])
		r.last = length&lastRecord != 0
		length &^= lastRecord
		if length > maxBody {
			return damaged("has a record that is too long")
		}
		if r.last != (r.i == chunks-1) {
			return damaged("is longer or shorter than it should be")
		}
		if uint32(cap(r.body)) < length {
			r.body = make([]byte, max(length, 4096))
		}
		r.body = r.body[:length]
		if _, err := io.ReadFull(src, r.body); err != nil {
			return damaged("ends early")
		}
		if err := use(&r); err != nil {
			return err
		}
	}
	if n, _ := src.Read(magic[:1]); n > 0 {
		return damaged("goes on after its end")
	}
	return nil
}

// opener turns records into chunks. Each worker has its own.
type opener struct {
	packing
	want   File
	dec    *zstd.Decoder
	opened []byte // what was decrypted
	out    []byte // what was decompressed
}

func (p packing) newOpener(want File) (*opener, error) {
	o := &opener{packing: p, want: want}
	if p.sealed {
		o.opened = make([]byte, 0, maxBody)
	}
	if !p.compressed {
		return o, nil
	}
	o.out = make([]byte, 0, chunkSize)
	var err error
	o.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(chunkSize),
		zstd.WithDecoderMaxWindow(chunkSize), zstd.WithDecodeAllCapLimit(true))
	return o, err
}

func (o *opener) close() {
	if o.dec != nil {
		o.dec.Close()
	}
}

// chunk returns what the record holds, valid until the next call, and notes its
// sum in crcs.
func (o *opener) chunk(r record, crcs sums) ([]byte, error) {
	chunk, err := o.decode(r)
	if size := min(chunkSize, o.want.Size-int64(r.i)*chunkSize); err == nil && int64(len(chunk)) != size {
		err = fmt.Errorf("it has %d bytes, not %d", len(chunk), size)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: file %s, chunk %d: %w", ErrCorrupt, o.want.Name, r.i, err)
	}
	if len(chunk) > 0 {
		crcs[r.i] = crc32.Checksum(chunk, castagnoli)
	}
	return chunk, nil
}

func (o *opener) decode(r record) ([]byte, error) {
	b := r.body
	if o.sealed {
		var err error
		if b, err = o.aead.Open(o.opened[:0], o.nonce(r.i, r.last), b, r.header[:]); err != nil {
			return nil, errors.New("it was altered or sealed with another key")
		}
	}
	if o.compressed {
		return o.dec.DecodeAll(b, o.out[:0])
	}
	return b, nil
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
