package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/blob"
)

func badNames(t *testing.T, s blob.Store) {
	for _, name := range []string{"", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "../a", "A", "a b", "a\x00", "ä", "a.tmp", "a.tmp/b", "a\\b", "a%2fb", "a+b",
		strings.Repeat("a", blob.MaxSegment+1), strings.Repeat("a/", blob.MaxName/2) + "a"} {
		_, get := s.Get(t.Context(), name, 0, -1)
		_, stat := s.Stat(t.Context(), name)
		for call, err := range map[string]error{
			"Put":    s.Put(t.Context(), name, []byte("x"), false),
			"Get":    get,
			"Stat":   stat,
			"Delete": s.Delete(t.Context(), name),
		} {
			if !errors.Is(err, blob.ErrName) {
				t.Errorf("%s of %q: %v, want ErrName", call, name, err)
			}
		}
	}
	for _, prefix := range []string{"/", "..", "../", "a/../b", "A", "a//"} {
		err := s.List(t.Context(), prefix, func(i blob.Info) error { return fmt.Errorf("saw %s", i.Name) })
		if err != nil && !errors.Is(err, blob.ErrName) {
			t.Errorf("List of %q: %v, want ErrName or nothing", prefix, err)
		}
	}
}

func longNames(t *testing.T, s blob.Store) {
	segment := strings.Repeat("s", blob.MaxSegment)
	for _, name := range []string{segment, "d/" + segment, "a", "0", "-", "_", ".a", "a.", "...", "a..b", "tmp", ".tmp-", "a.tmp.b"} {
		put(t, s, name, []byte(name))
		mustGet(t, s, name, []byte(name))
	}
	// The longest name fits unless the store is a part of another.
	longest := strings.Repeat(strings.Repeat("l", blob.MaxSegment-1)+"/", 3) + segment
	if len(longest) != blob.MaxName {
		t.Fatalf("the longest name has %d bytes", len(longest))
	}
	err := s.Put(t.Context(), longest, []byte("long"), true)
	if err != nil && !errors.Is(err, blob.ErrName) {
		t.Errorf("Put of the longest name: %v, want success or ErrName", err)
	}
	if err == nil {
		mustGet(t, s, longest, []byte("long"))
	}
}

// nested is about "a" beside "a/b": a store may refuse the second, and keeps the first.
func nested(t *testing.T, s blob.Store) {
	for _, c := range []struct{ first, second string }{{"a", "a/b"}, {"b/c/d", "b/c"}, {"e", "e/f/g"}} {
		for _, ifAbsent := range []bool{true, false} {
			put(t, s, c.first, []byte("first"))
			err := s.Put(t.Context(), c.second, []byte("second"), ifAbsent)
			switch {
			case err == nil:
				mustGet(t, s, c.second, []byte("second"))
				if err := s.Delete(t.Context(), c.second); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, blob.ErrName) && !errors.Is(err, blob.ErrDenied):
				t.Errorf("Put of %s beside %s: %v, want success, ErrName or ErrDenied", c.second, c.first, err)
			}
			mustGet(t, s, c.first, []byte("first"))
		}
	}
}

func listOrder(t *testing.T, s blob.Store) {
	want := []string{"a", "a-b", "a.b", "a0", "aa", "b-/x", "b./x", "b/a-b/c", "b/a.b", "b/a/c", "b/a0/c", "b0", "c/0", "c/10", "c/9"}
	for i := range want {
		name := want[(i*7)%len(want)]
		put(t, s, name, []byte(name))
	}
	got := list(t, s, "")
	if !slices.Equal(names(got), want) {
		t.Errorf("List shows\n%q, want\n%q", names(got), want)
	}
	for _, i := range got {
		if i.Size != int64(len(i.Name)) || i.Modified.IsZero() {
			t.Errorf("List shows %+v", i)
		}
	}
}

func listPrefix(t *testing.T, s blob.Store) {
	all := []string{"a/b/1", "a/b/2", "a/bc", "a/bc-d/1", "ab", "v/0a/s/1", "v/0a/s/2", "v/0b/s/1"}
	for _, name := range all {
		put(t, s, name, nil)
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b/1", "a/b/12", "a/bc", "a/bc-", "ab", "ab/", "v/0", "v/0a", "v/0a/", "v/0a/s/2", "w", "w/x/"} {
		want := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return !strings.HasPrefix(n, prefix) })
		if got := names(list(t, s, prefix)); !slices.Equal(got, want) {
			t.Errorf("List of %q: %q, want %q", prefix, got, want)
		}
	}
}

func listStops(t *testing.T, s blob.Store) {
	for _, name := range []string{"a", "b/a", "b/b", "c"} {
		put(t, s, name, nil)
	}
	enough := errors.New("enough")
	var seen []string
	err := s.List(t.Context(), "", func(i blob.Info) error {
		seen = append(seen, i.Name)
		if i.Name == "b/a" {
			return enough
		}
		return nil
	})
	if err != enough || !slices.Equal(seen, []string{"a", "b/a"}) {
		t.Errorf("List went through %q and returned %v", seen, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	seen = nil
	err = s.List(ctx, "", func(i blob.Info) error {
		seen = append(seen, i.Name)
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || len(seen) != 1 {
		t.Errorf("a cancelled List went through %q and returned %v", seen, err)
	}
}

// many is more than S3 lists at once.
const many = 1003

func listMany(t *testing.T, s blob.Store) {
	var want []string
	for i := range many {
		want = append(want, fmt.Sprintf("many/%02x/%04x", i%7, i))
	}
	each(want, func(name string) {
		if err := s.Put(t.Context(), name, []byte("x"), false); err != nil {
			t.Errorf("Put: %v", err)
		}
	})
	slices.Sort(want)
	if got := names(list(t, s, "many/")); !slices.Equal(got, want) {
		t.Errorf("List shows %d objects of %d, or in another order", len(got), len(want))
	}
}

// listWhileChanging deletes from within f what f has been shown, and writes ahead.
func listWhileChanging(t *testing.T, s blob.Store) {
	for i := range 20 {
		put(t, s, fmt.Sprintf("x/%02d", i), nil)
	}
	seen := 0
	err := s.List(t.Context(), "x/", func(i blob.Info) error {
		if bytes.HasPrefix([]byte(i.Name), []byte("x/new")) {
			return nil
		}
		seen++
		if err := s.Put(t.Context(), "x/new-"+i.Name[2:], nil, false); err != nil {
			return err
		}
		return s.Delete(t.Context(), i.Name)
	})
	if err != nil || seen != 20 {
		t.Errorf("List showed %d of 20 objects: %v", seen, err)
	}
	if left := list(t, s, "x/"); len(left) != 20 {
		t.Errorf("afterwards there are %d objects, want 20", len(left))
	}
}
