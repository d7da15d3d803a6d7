package link

// replay is the tail of a stream: the bytes from start on, which the other end
// has not acknowledged. It is a ring that grows on demand up to Window and
// shrinks when it runs empty.
type replay struct {
	start uint64 // stream offset of the oldest byte kept
	size  int    // bytes kept
	head  int    // index in ring of the oldest byte
	ring  []byte
}

const (
	minRing = 4 << 10
	// keepRing is the largest ring that an empty replay holds on to.
	keepRing = 64 << 10
)

func (r *replay) end() uint64 { return r.start + uint64(r.size) }

func (r *replay) room() int { return Window - r.size }

// append adds p, which must fit in room.
func (r *replay) append(p []byte) {
	if len(p) == 0 {
		return
	}
	r.grow(r.size + len(p))
	tail := (r.head + r.size) % len(r.ring)
	n := copy(r.ring[tail:], p)
	copy(r.ring, p[n:])
	r.size += len(p)
}

func (r *replay) grow(need int) {
	if need <= len(r.ring) {
		return
	}
	length := max(minRing, len(r.ring))
	for length < need {
		length *= 2
	}
	ring := make([]byte, length)
	r.copyAt(ring[:r.size], r.start)
	r.ring, r.head = ring, 0
}

// copyAt fills p with the bytes from stream offset at on, all of which must be
// kept.
func (r *replay) copyAt(p []byte, at uint64) {
	if len(p) == 0 {
		return
	}
	from := (r.head + int(at-r.start)) % len(r.ring)
	n := copy(p, r.ring[from:])
	copy(p[n:], r.ring)
}

// release forgets what lies before stream offset to.
func (r *replay) release(to uint64) {
	n := int(to - r.start)
	if n == 0 {
		return
	}
	r.start, r.size = to, r.size-n
	r.head = (r.head + n) % len(r.ring)
	if r.size == 0 {
		r.head = 0
		if len(r.ring) > keepRing {
			r.ring = nil
		}
	}
}
