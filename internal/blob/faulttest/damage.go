package faulttest

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/moltworker/moltworker/internal/blob"
)

// Names returns the names of all objects that begin with prefix.
func Names(ctx context.Context, s blob.Store, prefix string) ([]string, error) {
	var all []string
	err := s.List(ctx, prefix, func(i blob.Info) error { all = append(all, i.Name); return nil })
	return all, err
}

// Lose makes an object go missing.
func Lose(t testing.TB, s blob.Store, name string) {
	t.Helper()
	mustRead(t, s, name)
	if err := s.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// FlipBit changes one bit of the byte at off; a negative off counts from the end.
func FlipBit(t testing.TB, s blob.Store, name string, off int) {
	t.Helper()
	data := mustRead(t, s, name)
	if off < 0 {
		off += len(data)
	}
	data[off] ^= 1
	mustWrite(t, s, name, data)
}

// Shorten leaves only the first n bytes of an object; a negative n leaves out as
// many at the end.
func Shorten(t testing.TB, s blob.Store, name string, n int) {
	t.Helper()
	data := mustRead(t, s, name)
	if n < 0 {
		n += len(data)
	}
	mustWrite(t, s, name, data[:n])
}

// Swap makes two objects change places.
func Swap(t testing.TB, s blob.Store, a, b string) {
	t.Helper()
	dataA, dataB := mustRead(t, s, a), mustRead(t, s, b)
	mustWrite(t, s, a, dataB)
	mustWrite(t, s, b, dataA)
}

// Copy makes an object appear under another name too.
func Copy(t testing.TB, s blob.Store, from, to string) {
	t.Helper()
	mustWrite(t, s, to, mustRead(t, s, from))
}

// Picture is what a store holds at one time.
type Picture map[string][]byte

// Take returns a picture of a store.
func Take(t testing.TB, s blob.Store) Picture {
	t.Helper()
	p := Picture{}
	names, err := Names(t.Context(), s, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		p[name] = mustRead(t, s, name)
	}
	return p
}

// Restore makes a store hold what it held when the picture was taken: an old copy
// of a bucket that somebody brought back.
func (p Picture) Restore(t testing.TB, s blob.Store) {
	t.Helper()
	for name := range Take(t, s) {
		if _, kept := p[name]; !kept {
			Lose(t, s, name)
		}
	}
	for name, data := range p {
		mustWrite(t, s, name, data)
	}
}

// Changed says, for a test's message, what is different in another picture; nil
// when nothing is.
func (p Picture) Changed(other Picture) []string {
	var all []string
	for name, data := range p {
		if now, there := other[name]; !there {
			all = append(all, fmt.Sprintf("%s is gone", name))
		} else if !bytes.Equal(data, now) {
			all = append(all, fmt.Sprintf("%s is another", name))
		}
	}
	for name := range other {
		if _, there := p[name]; !there {
			all = append(all, fmt.Sprintf("%s is new", name))
		}
	}
	return all
}

func mustRead(t testing.TB, s blob.Store, name string) []byte {
	t.Helper()
	data, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustWrite(t testing.TB, s blob.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data, false); err != nil {
		t.Fatal(err)
	}
}
