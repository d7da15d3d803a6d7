package image

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// chunkSize is the unit of sums, compression and sealing, in bytes.
const chunkSize = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sums collects the CRC-32C of a file's chunks.
type sums []uint32

func newSums(size int64) sums { return make(sums, (size+chunkSize-1)/chunkSize) }

func (s sums) String() string {
	h := sha256.New()
	for _, crc := range s {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], crc)
		h.Write(b[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// workers is how many goroutines work on one file that somebody waits for.
func workers() int { return min(runtime.GOMAXPROCS(0), 8) }

// sumFile returns the sum of the first size bytes of f, on all cores.
func sumFile(ctx context.Context, f *os.File, size int64) (string, error) {
	crcs := newSums(size)
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range workers() {
		group.Go(func() error {
			buf := make([]byte, min(size, chunkSize))
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(crcs)) {
					return nil
				}
				chunk := buf[:min(chunkSize, size-i*chunkSize)]
				if n, err := f.ReadAt(chunk, i*chunkSize); n < len(chunk) {
					if err == io.EOF {
						err = io.ErrUnexpectedEOF
					}
					return fmt.Errorf("read %s: %w", f.Name(), err)
				}
				crcs[i] = crc32.Checksum(chunk, castagnoli)
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return crcs.String(), nil
}

// checkFile compares the plain file at path with what the manifest says of it.
func checkFile(ctx context.Context, path string, want File) error {
	f, size, err := openRegular(path)
	if err != nil {
		return damage(err)
	}
	defer f.Close()
	if size != want.Size {
		return fmt.Errorf("%w: file %s has %d bytes, not %d", ErrCorrupt, want.Name, size, want.Size)
	}
	sum, err := sumFile(ctx, f, size)
	if err != nil {
		if ctx.Err() == nil {
			err = damage(err) // a disk that cannot be read
		}
		return err
	}
	if sum != want.Sum {
		return fmt.Errorf("%w: the contents of file %s have changed", ErrCorrupt, want.Name)
	}
	return nil
}
