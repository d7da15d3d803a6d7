// Package blobtest owns the suite that every object store passes: the contract
// of package blob as stories. It must not know any store.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/moltworker/moltworker/internal/blob"
)

// Run runs the suite. open returns an empty store, another one for each call.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, story := range map[string]func(*testing.T, blob.Store){
		"what was put can be read":              putAndGet,
		"parts can be read":                     ranges,
		"objects are described":                 stat,
		"objects can be replaced":               overwrite,
		"deleting is final":                     deletion,
		"names are checked":                     badNames,
		"names may be as long as allowed":       longNames,
		"an object is no directory":             nested,
		"what is there is not overwritten":      ifAbsent,
		"of many who write at once one wins":    race,
		"replacing leaves no gap":               replaceRace,
		"a list is ordered":                     listOrder,
		"a prefix is bytes, not a directory":    listPrefix,
		"a list ends when it is told to":        listStops,
		"a list shows more than a page":         listMany,
		"a list lives with changes":             listWhileChanging,
		"an object is at most so large":         tooLarge,
		"nothing is done for who has gone away": cancelled,
		"many may work at once":                 together,
		"data is the caller's":                  aliases,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			story(t, s)
			if s.String() == "" {
				t.Error("the store does not say where it is")
			}
		})
	}
}

func putAndGet(t *testing.T, s blob.Store) {
	for name, data := range map[string][]byte{
		"empty":               {},
		"one":                 {0},
		"deep/in/the/tree.x":  []byte("hello"),
		"all-bytes_0":         allBytes(),
		"large/five-mebibyte": noise(5<<20, 1),
	} {
		put(t, s, name, data)
		mustGet(t, s, name, data)
	}
	if _, err := s.Get(t.Context(), "nothing", 0, -1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get of nothing: %v, want ErrNotFound", err)
	}
	if _, err := s.Get(t.Context(), "deep/in", 0, -1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get of what is no object but the beginning of one: %v, want ErrNotFound", err)
	}
	if _, err := s.Get(t.Context(), "one/more", 0, -1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get of what is below an object: %v, want ErrNotFound", err)
	}
}

func ranges(t *testing.T, s blob.Store) {
	data := noise(100_000, 2)
	size := int64(len(data))
	put(t, s, "a/data", data)
	put(t, s, "a/empty", nil)
	for _, c := range []struct{ off, n, from, to int64 }{
		{0, -1, 0, size},
		{0, size, 0, size},
		{0, size + 1, 0, size},
		{0, 1, 0, 1},
		{1, 1, 1, 2},
		{99_999, 1, 99_999, size},
		{99_999, 2, 99_999, size},
		{50_000, -1, 50_000, size},
		{50_000, 1 << 62, 50_000, size},
		{0, 0, 0, 0},
		{7, 0, 7, 7},
		{size, 0, 0, 0},
		{size, 1, 0, 0},
		{size, -1, 0, 0},
		{size + 1, 10, 0, 0},
		{1 << 62, 1 << 62, 0, 0},
	} {
		got, err := s.Get(t.Context(), "a/data", c.off, c.n)
		if err != nil || !bytes.Equal(got, data[c.from:c.to]) {
			t.Errorf("Get from %d, %d bytes: %d bytes, %v; want [%d:%d]", c.off, c.n, len(got), err, c.from, c.to)
		}
	}
	for _, off := range []int64{0, 5} {
		if got, err := s.Get(t.Context(), "a/empty", off, 5); err != nil || len(got) != 0 {
			t.Errorf("Get from %d of an empty object: %d bytes, %v", off, len(got), err)
		}
		for _, n := range []int64{0, 5} {
			if _, err := s.Get(t.Context(), "a/nothing", off, n); !errors.Is(err, blob.ErrNotFound) {
				t.Errorf("Get from %d, %d bytes, of nothing: %v, want ErrNotFound", off, n, err)
			}
		}
	}
	if _, err := s.Get(t.Context(), "a/data", -1, 5); err == nil {
		t.Error("Get from a negative offset succeeded")
	}
}

func stat(t *testing.T, s blob.Store) {
	put(t, s, "a/b", []byte("12345"))
	put(t, s, "a/empty", nil)
	info, err := s.Stat(t.Context(), "a/b")
	if err != nil || info.Name != "a/b" || info.Size != 5 || info.Modified.IsZero() {
		t.Errorf("Stat: %+v, %v", info, err)
	}
	if info, err := s.Stat(t.Context(), "a/empty"); err != nil || info.Size != 0 {
		t.Errorf("Stat of an empty object: %+v, %v", info, err)
	}
	for _, name := range []string{"a", "a/b/c", "a/c", "b"} {
		if _, err := s.Stat(t.Context(), name); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Stat of %q, which is not there: %v, want ErrNotFound", name, err)
		}
	}
	listed := list(t, s, "a/b")
	if len(listed) != 1 || listed[0].Size != 5 || listed[0].Modified.Unix() != info.Modified.Unix() {
		t.Errorf("List says %+v, Stat %+v", listed, info)
	}
}

func overwrite(t *testing.T, s blob.Store) {
	for _, data := range []string{"first", "the second, which is longer", "3rd", ""} {
		put(t, s, "a/b", []byte(data))
		mustGet(t, s, "a/b", []byte(data))
	}
	if all := list(t, s, ""); len(all) != 1 {
		t.Errorf("after overwriting there are %d objects", len(all))
	}
}

func deletion(t *testing.T, s blob.Store) {
	put(t, s, "a/b", []byte("x"))
	put(t, s, "a/bc", []byte("y"))
	for range 2 {
		if err := s.Delete(t.Context(), "a/b"); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	for _, name := range []string{"never/was", "a", "a/bc/d"} {
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("Delete of %q, which is not there: %v", name, err)
		}
	}
	if _, err := s.Stat(t.Context(), "a/b"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Stat after Delete: %v", err)
	}
	if got := names(list(t, s, "")); !slices.Equal(got, []string{"a/bc"}) {
		t.Errorf("left after Delete: %q", got)
	}
	put(t, s, "a/b", []byte("again"))
	mustGet(t, s, "a/b", []byte("again"))
}

func aliases(t *testing.T, s blob.Store) {
	data := []byte("written")
	put(t, s, "a", data)
	copy(data, "changed")
	got := mustGet(t, s, "a", []byte("written"))
	copy(got, "spoiled")
	mustGet(t, s, "a", []byte("written"))
}

func put(t *testing.T, s blob.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data, false); err != nil {
		t.Fatalf("Put %s: %v", name, err)
	}
}

func mustGet(t *testing.T, s blob.Store, name string, want []byte) []byte {
	t.Helper()
	got, err := s.Get(context.WithoutCancel(t.Context()), name, 0, -1)
	if err != nil {
		t.Fatalf("Get %s: %v", name, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Get %s: %d bytes that are not the %d written", name, len(got), len(want))
	}
	return got
}

func list(t *testing.T, s blob.Store, prefix string) []blob.Info {
	t.Helper()
	var all []blob.Info
	if err := s.List(t.Context(), prefix, func(i blob.Info) error { all = append(all, i); return nil }); err != nil {
		t.Fatalf("List %q: %v", prefix, err)
	}
	return all
}

func names(infos []blob.Info) []string {
	var all []string
	for _, i := range infos {
		all = append(all, i.Name)
	}
	return all
}

func noise(n int, seed byte) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func allBytes() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}
