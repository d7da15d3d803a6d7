package blob_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/blobtest"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/blob/mem"
	"github.com/moltworker/moltworker/internal/remedy"
)

func TestValidateName(t *testing.T) {
	long := strings.Repeat("x", blob.MaxSegment)
	for name, valid := range map[string]bool{
		"a": true, "a/b": true, "v/0a1b/p/ff.x_y-z": true, "...": true, ".hidden": true, "tmp": true, "x.tmp.y": true,
		long: true, long + "/" + long + "/" + long: true,
		"": false, "/": false, "/a": false, "a/": false, "a//b": false, ".": false, "..": false, "a/.": false, "../a": false, "a/../b": false,
		".tmp": false, "a.tmp": false, "a.tmp/b": false, "A": false, "a b": false, "ä": false, "a\n": false, "a\x00": false, `a\b`: false, "%61": false,
		long + "x": false, strings.Repeat("abc/", blob.MaxName/4) + "d": false,
	} {
		if err := blob.ValidateName(name); (err == nil) != valid || err != nil && !errors.Is(err, blob.ErrName) {
			t.Errorf("%q: %v, want valid %v", name, err, valid)
		}
	}
}

// FuzzNames holds what stores rely on: a valid name is a path that stays below
// where it begins, and whatever a valid name begins with is a valid prefix.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"a/b", "a//b", "../x", "a.tmp", ".x/..y", strings.Repeat("a/", 300)} {
		f.Add(name, 3)
	}
	f.Fuzz(func(t *testing.T, name string, cut int) {
		if blob.ValidateName(name) != nil {
			return
		}
		for part := range strings.SplitSeq(name, "/") {
			if part == "" || part == "." || part == ".." || strings.HasSuffix(part, ".tmp") || len(part) > blob.MaxSegment {
				t.Errorf("%q is valid", name)
			}
		}
		if prefix := name[:max(0, min(cut, len(name)))]; blob.ValidatePrefix(prefix) != nil {
			t.Errorf("%q is valid, and its beginning %q is not: %v", name, prefix, blob.ValidatePrefix(prefix))
		}
	})
}

func TestPrefixed(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store {
		inner := mem.New()
		for _, name := range []string{"a", "host-1", "host-10/a", "host-2/a"} { // others'
			if err := inner.Put(t.Context(), name, []byte("theirs"), false); err != nil {
				t.Fatal(err)
			}
		}
		return blob.Prefixed(inner, "host/part")
	})
}

func TestPrefixedStaysBelow(t *testing.T) {
	inner := mem.New()
	for _, name := range []string{"x", "host/a", "host-b"} {
		if err := inner.Put(t.Context(), name, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	s := blob.Prefixed(inner, "host")
	if got, err := faulttest.Names(t.Context(), s, ""); err != nil || !slices.Equal(got, []string{"a"}) {
		t.Errorf("List: %q, %v", got, err)
	}
	if s.String() != "memory/host" {
		t.Errorf("it is at %s", s)
	}
	if err := blob.Prefixed(inner, "../x").Put(t.Context(), "a", nil, false); !errors.Is(err, blob.ErrName) {
		t.Errorf("Put below a bad prefix: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		script faulttest.Script
		says   string // "" when the store is good
	}{
		"good":                          {nil, ""},
		"no writing":                    {faulttest.On(faulttest.Put, "", faulttest.Denied), "cannot write to memory"},
		"no reading":                    {faulttest.On(faulttest.Get, "", faulttest.Denied), "cannot read from memory"},
		"no listing":                    {faulttest.On(faulttest.List, "", faulttest.Denied), "cannot list memory"},
		"no deleting":                   {faulttest.Nth(faulttest.Delete, 1, faulttest.Denied), "cannot delete from memory"},
		"unreachable":                   {faulttest.Always(faulttest.Before), "the store is unavailable"},
		"writes that are lost":          {faulttest.Nth(faulttest.Put, 1, faulttest.Lie), "is not there"},
		"writes that are cut":           {faulttest.Nth(faulttest.Put, 1, faulttest.Truncate), "other bytes"},
		"bits that flip":                {faulttest.Nth(faulttest.Get, 2, faulttest.Flip), "other bytes"},
		"a condition that is ignored":   {faulttest.Nth(faulttest.Put, 2, faulttest.Lie), "If-None-Match"},
		"a list that is late":           {faulttest.On(faulttest.List, "", faulttest.Stale), "does not list"},
		"deletes that are not done":     {faulttest.Nth(faulttest.Delete, 1, faulttest.Lie), "still there"},
		"an object that comes and goes": {faulttest.Nth(faulttest.Stat, 1, faulttest.Missing), "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			inner := mem.New()
			err := blob.Check(t.Context(), faulttest.New(inner, c.script))
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("Check: %v, want %q", err, c.says)
			}
			if err != nil && remedy.Of(err) == "" {
				t.Errorf("no remedy for: %v", err)
			}
			if left := faulttest.Take(t, inner); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestCheckOfAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		inner := mem.New()
		done := make(chan error)
		go func() { done <- blob.Check(ctx, faulttest.New(inner, faulttest.Nth(faulttest.Get, 1, faulttest.Hang))) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Check: %v", err)
		}
		if left := faulttest.Take(t, inner); len(left) != 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}
