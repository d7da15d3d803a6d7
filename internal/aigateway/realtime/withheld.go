package realtime

import "bytes"

const (
	minWithheld = 16
	maxWithheld = 4096
)

// guard looks for what is withheld in a message's payload, across all the cuts into
// pieces and frames, and knows where in the buffer the earliest beginning lies.
type guard struct {
	needles []needle
	longest int
	spans   []span // of the newest payload: at least all that a needle has matched
	total   int    // bytes of the spans
}

// span is where in a buffer a piece of payload is; at is negative when its beginning
// is gone.
type span struct{ at, n int }

// newGuard returns nil when there is nothing to look for.
func newGuard(withheld [][]byte) *guard {
	g := &guard{}
	for _, w := range withheld {
		if len(w) >= minWithheld {
			g.needles = append(g.needles, newNeedle(w[:min(len(w), maxWithheld)]))
			g.longest = max(g.longest, min(len(w), maxWithheld))
		}
	}
	if g.needles == nil {
		return nil
	}
	return g
}

// feed reads on in a message with p, which is at that place in the buffer. It
// reports whether a needle is now complete.
func (g *guard) feed(p []byte, at int) bool {
	for i := range g.needles {
		if g.needles[i].feed(p) {
			return true
		}
	}
	g.spans = append(g.spans, span{at, len(p)})
	g.total += len(p)
	for g.total-g.spans[0].n >= g.longest {
		g.total -= g.spans[0].n
		g.spans = g.spans[1:]
	}
	return false
}

// hits reports whether a control frame's payload, which is always whole, has
// something in it.
func (g *guard) hits(payload []byte) bool {
	for i := range g.needles {
		if bytes.Contains(payload, g.needles[i].key) {
			return true
		}
	}
	return false
}

// hold is where the earliest beginning of a needle lies; ok is false when none does.
func (g *guard) hold() (at int, ok bool) {
	matched := 0
	for i := range g.needles {
		matched = max(matched, g.needles[i].matched)
	}
	if matched == 0 {
		return 0, false
	}
	i := len(g.spans) - 1
	for ; g.spans[i].n < matched; i-- {
		matched -= g.spans[i].n
	}
	return g.spans[i].at + g.spans[i].n - matched, true
}

// shift is told that the first n bytes of the buffer are gone.
func (g *guard) shift(n int) {
	for i := range g.spans {
		g.spans[i].at -= n
	}
}

// reset ends a message.
func (g *guard) reset() {
	for i := range g.needles {
		g.needles[i].matched = 0
	}
	g.spans, g.total = g.spans[:0], 0
}

// needle is matched byte by byte, so that it does not matter how its bytes come
// (the algorithm is Knuth, Morris and Pratt's).
type needle struct {
	key     []byte
	back    []int // back[n]: how much of key's beginning is also the end of key[:n]
	matched int   // how much of key's beginning the payload now ends with
}

func newNeedle(key []byte) needle {
	back := make([]int, len(key)+1)
	for i, n := 1, 0; i < len(key); i++ {
		for n > 0 && key[i] != key[n] {
			n = back[n]
		}
		if key[i] == key[n] {
			n++
		}
		back[i+1] = n
	}
	return needle{key: bytes.Clone(key), back: back}
}

// feed reports whether the needle is complete.
func (k *needle) feed(p []byte) bool {
	n := k.matched
	for i := 0; i < len(p); i++ {
		if n == 0 {
			next := bytes.IndexByte(p[i:], k.key[0])
			if next < 0 {
				break
			}
			i += next
		}
		for n > 0 && p[i] != k.key[n] {
			n = k.back[n]
		}
		if p[i] == k.key[n] {
			n++
		}
		if n == len(k.key) {
			return true
		}
	}
	k.matched = n
	return false
}
