package image

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// benchSize is that of a large agent's pages in bytes.
const benchSize = 700 << 20

// benchPages writes a file that is about as compressible as an agent's memory:
// of each page of 4 KiB 40 % noise of few values, the rest words that come again.
func benchPages(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]byte, 1<<16)
	for i := range words {
		words[i] = byte(r.Uint32())
	}
	chunk := make([]byte, chunkSize)
	for n := int64(0); n < size; n += chunkSize {
		for p := 0; p < chunkSize; p += 4096 {
			page := chunk[p : p+4096]
			for i := range page {
				page[i] = byte(r.Uint32() & 0xf)
			}
			for i := 1638; i+64 <= len(page); i += 64 {
				copy(page[i:i+64], words[r.IntN(len(words)-64):])
			}
			if r.IntN(4) > 0 {
				copy(page[1638:], words[p&0x7fff:][:4096-1638])
			}
		}
		if _, err := f.Write(chunk[:min(chunkSize, size-n)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStore measures what a sleep and a wake cost beside the driver's part:
// commit, cool, take (and verify), done.
func BenchmarkStore(b *testing.B) {
	size := int64(benchSize)
	if testing.Short() {
		size = 16 << 20
	}
	pages := filepath.Join(b.TempDir(), "pages")
	benchPages(b, pages, size)
	for _, c := range []struct {
		policy Policy
		cold   bool
	}{{Auto, false}, {Always, false}, {Never, true}, {Auto, true}} {
		b.Run(fmt.Sprintf("policy=%v/cold=%v", c.policy, c.cold), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{Key: key(1), Encrypt: c.policy, Memory: memory(b)})
			if err != nil {
				b.Fatal(err)
			}
			var total, commit, cool, take, verify, done float64
			part := func(sum *float64, do func() error) {
				before := b.Elapsed()
				if err := do(); err != nil {
					b.Fatal(err)
				}
				*sum += (b.Elapsed() - before).Seconds() * 1000
			}
			n := 0
			for b.Loop() {
				n++
				d, err := s.Begin(size)
				if err != nil {
					b.Fatal(err)
				}
				if err := copyFile(filepath.Join(d.Dir(), "pages.img"), pages); err != nil {
					b.Fatal(err)
				}
				part(&commit, func() error { _, err := d.Commit(b.Context(), binding(1), nil); return err })
				if c.cold {
					part(&cool, func() error { return s.Cool(b.Context()) })
				}
				u, _ := s.Size()
				total = float64(u.Image) / (1 << 20)
				var t *Taken
				part(&take, func() (err error) { t, err = s.Take(b.Context(), binding(1)); return err })
				part(&verify, func() error { return t.Verify(b.Context()) })
				part(&done, t.Done)
			}
			for name, sum := range map[string]float64{"commit": commit, "cool": cool, "take": take, "verify": verify, "done": done} {
				b.ReportMetric(sum/float64(n), name+"-ms")
			}
			b.ReportMetric(total, "disk-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := create(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	_, err = io.Copy(dst, src)
	return err
}
