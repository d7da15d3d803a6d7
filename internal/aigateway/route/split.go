package route

import "math/bits"

// arm is one choice of a split. A model "" is the call's own.
type arm struct {
	weight uint64 // 1 to maxWeight
	model  string
}

// by is what an arm is chosen by: calls that have it in common have the arm too. The
// zero by is the agent.
type by struct {
	call   bool   // nothing: each call draws anew
	member string // of the metadata; the agent where a call has none or an empty one
}

// choose picks an arm. Of all that calls may be chosen by, laid out on a line in the
// order of their hashes, each arm has a stretch as long as its weight is of all, in
// the order of the arms. So when the first of two is given more weight, it keeps
// whom it had. A call by name chooses among those arms that name a model; -1 when
// none does.
func (s *step) choose(route string, number int, c *Call, named bool) int {
	usable := func(a arm) bool { return !named || a.model != "" }
	var total uint64
	for _, a := range s.split {
		if usable(a) {
			total += a.weight
		}
	}
	at, _ := bits.Mul64(s.hash(route, number, c), total) // below total
	for i, a := range s.split {
		switch {
		case !usable(a):
		case at < a.weight:
			return i
		default:
			at -= a.weight
		}
	}
	return -1
}

// hash is of the route, the step and what arms are chosen by: every split sorts
// callers its own way. It is the same on every machine and must stay so: with another
// one agents would change their arms. Parts cannot run into each other, as names of
// routes hold no zero byte and a step's number is one byte.
func (s *step) hash(route string, number int, c *Call) uint64 {
	h := fnvText(offset64, route)
	h = fnvByte(h, 0)
	h = fnvByte(h, byte(number))
	if s.by.call {
		for n := 0; n < 64; n += 8 {
			h = fnvByte(h, byte(c.Draw>>n))
		}
		return mix(h)
	}
	if s.by.member != "" {
		if v := c.Metadata[s.by.member]; v != "" {
			return mix(fnvText(h, v))
		}
	}
	return mix(fnvText(h, c.Agent))
}

// FNV-1a of 64 bits (RFC 9923), by hand as hash/fnv would allocate.
const (
	offset64 = 0xcbf29ce484222325
	prime64  = 0x100000001b3
)

func fnvByte(h uint64, b byte) uint64 { return (h ^ uint64(b)) * prime64 }

func fnvText(h uint64, s string) uint64 {
	for i := range len(s) {
		h = fnvByte(h, s[i])
	}
	return h
}

// mix spreads every bit over all others, as the last step of MurmurHash3 for 64 bits
// does: the high bits of FNV alone hardly depend on the last letter, and names of
// agents often differ in that one only.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
