package faulttest

import (
	"fmt"
	"testing"

	"github.com/moltworker/moltworker/internal/blob"
)

// maxSteps bounds EachCrash: a story with more writes should be told in parts.
const maxSteps = 1000

// EachCrash tells a story once for each write that it makes, and twice: the
// process dies just before the store does that write, and just after. prepare
// returns the store as it is before the story; do is the story, on a store that
// dies; after looks at what is left, as a new process would find it. The last
// telling, of which after hears that nothing died, ends without a crash. Reads
// need no crashes of their own: to die in one is to die before the next write.
//
// All that do does must go through the store that it is given, and what it keeps
// elsewhere (a cache) is part of what after finds.
func EachCrash(t *testing.T, prepare func(t *testing.T) blob.Store, do func(t *testing.T, s *Store) error, after func(t *testing.T, left blob.Store, died bool)) {
	t.Helper()
	for n := 1; ; n++ {
		if n > maxSteps {
			t.Fatalf("the story has more than %d writes", maxSteps)
		}
		died := false
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, done %v", n, done), func(t *testing.T) {
				left := prepare(t)
				s := New(left, CrashAtWrite(n, done))
				err := do(t, s)
				died = s.Crashed()
				if died && err == nil {
					t.Error("the story ended well although its process died")
				}
				if !died && err != nil {
					t.Errorf("the story failed without a crash: %v", err)
				}
				after(t, left, died)
			})
		}
		if !died {
			return
		}
	}
}
