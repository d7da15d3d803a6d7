package calllog

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// Buckets of a histogram: the first is for what is below 128 microseconds, the last
// for 3 hours and more. Between them four share each doubling, so the middle of one
// is at most 2^(1/8) - 1 = 9.1 % away from anything in it.
const (
	buckets     = 108
	firstBound  = 128 * time.Microsecond
	perDoubling = 4
)

// Histogram counts durations by their logarithm. The zero value is empty.
type Histogram struct {
	counts []int64 // nil: all are 0
}

func bucketOf(d time.Duration) int {
	if d < firstBound {
		return 0
	}
	i := 1 + int(math.Log2(float64(d)/float64(firstBound))*perDoubling)
	return min(i, buckets-1)
}

func (h *Histogram) count(bucket int, n int64) {
	if h.counts == nil {
		h.counts = make([]int64, buckets)
	}
	h.counts[bucket] = add(h.counts[bucket], n)
}

func (h *Histogram) merge(other Histogram) {
	for i, n := range other.counts {
		if n > 0 {
			h.count(i, n)
		}
	}
}

// Count is how many durations were counted.
func (h Histogram) Count() (n int64) {
	for _, c := range h.counts {
		n = add(n, c)
	}
	return n
}

// Quantile is the duration that a share q (0 to 1) of them does not exceed, to
// within 10 %; 0 when there are none. Below 128 microseconds it is 64.
func (h Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 || math.IsNaN(q) {
		return 0
	}
	rank := int64(math.Ceil(min(max(q, 0), 1) * float64(total)))
	rank = min(max(rank, 1), total)
	for i, c := range h.counts {
		if rank -= c; rank <= 0 {
			return middle(i)
		}
	}
	return 0
}

// middle is the geometric one of a bucket; of the last, which has none, its beginning.
func middle(bucket int) time.Duration {
	switch bucket {
	case 0:
		return firstBound / 2
	case buckets - 1:
		return time.Duration(float64(firstBound) * math.Exp2(float64(buckets-2)/perDoubling))
	}
	return time.Duration(float64(firstBound) * math.Exp2((float64(bucket)-0.5)/perDoubling))
}

// encode writes the buckets that are not empty as pairs of unsigned varints: how
// many buckets after the previous one plus one, and the count.
func (h Histogram) encode() []byte {
	out := []byte{} // the column is not NULL
	last := -1
	for i, n := range h.counts {
		if n > 0 {
			out = binary.AppendUvarint(out, uint64(i-last-1))
			out = binary.AppendUvarint(out, uint64(n))
			last = i
		}
	}
	return out
}

var errHistogram = errors.New("a histogram in it is damaged")

// decode adds what encode wrote.
func (h *Histogram) decode(b []byte) error {
	at := -1
	for len(b) > 0 {
		skip, n := binary.Uvarint(b)
		if n <= 0 || skip >= buckets {
			return errHistogram
		}
		count, m := binary.Uvarint(b[n:])
		at += int(skip) + 1
		if m <= 0 || at >= buckets || count > math.MaxInt64 {
			return errHistogram
		}
		h.count(at, int64(count))
		b = b[n+m:]
	}
	return nil
}

// add is a sum that stays at the largest number instead of wrapping round.
func add(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
