package calllog

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// ID names a call. Its first eight bytes are when the call began (Unix milliseconds,
// 42 bits, which last until 2109) and a number of its own within the millisecond
// (21 bits); the other eight are random. So IDs sort by time, in bytes and as text,
// and knowing some does not help to guess another.
type ID [16]byte

const (
	numberBits = 21
	maxMillis  = 1<<42 - 1
)

// idText is the text form: 26 letters and digits without those that look alike
// (Crockford's alphabet, in lower case), in ascending order.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

func (id ID) String() string { return idText.EncodeToString(id[:]) }

// ParseID reads what String wrote, and no other spelling of it.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := idText.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return ID{}, fmt.Errorf("%.40q is no ID of a call", s)
	}
	copy(id[:], b)
	if id.String() != s || id[0] > 0x7f {
		return ID{}, fmt.Errorf("%.40q is no ID of a call", s)
	}
	return id, nil
}

// MarshalText and UnmarshalText are String and ParseID.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParseID.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// Time is when the call began, in whole milliseconds.
func (id ID) Time() time.Time { return time.UnixMilli(id.key() >> numberBits).UTC() }

// IsZero reports whether it is no call's.
func (id ID) IsZero() bool { return id == ID{} }

// key is what rows are sorted by, and secret what is unguessable.
func (id ID) key() int64    { return int64(binary.BigEndian.Uint64(id[:8]) &^ (1 << 63)) }
func (id ID) secret() int64 { return int64(binary.BigEndian.Uint64(id[8:])) }

func makeID(key, secret int64) (id ID) {
	binary.BigEndian.PutUint64(id[:8], uint64(key))
	binary.BigEndian.PutUint64(id[8:], uint64(secret))
	return id
}

// keyAt is the lowest key of a time.
func keyAt(t time.Time) int64 { return min(max(t.UnixMilli(), 0), maxMillis) << numberBits }

// maker hands out IDs.
type maker struct {
	mu   sync.Mutex // guards last
	last int64      // key
}

func (m *maker) next(t time.Time) ID {
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	key := keyAt(t)
	m.mu.Lock()
	// The number begins in the lower half of its range, so a million calls fit in a
	// millisecond before one could meet a number that it had.
	if next := m.last + 1; next>>numberBits == key>>numberBits {
		key = next
	} else {
		key |= int64(binary.BigEndian.Uint32(random[8:])) & (1<<(numberBits-1) - 1)
	}
	m.last = key
	m.mu.Unlock()
	return makeID(key, int64(binary.BigEndian.Uint64(random[:8])))
}
