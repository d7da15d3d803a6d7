package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Bounds of a password, in bytes.
const (
	minPassword = 12
	maxPassword = 1024
)

// commonest are the passwords of the allowed length that everybody tries first.
var commonest = []string{
	"123456789012", "1234567890123", "12345678901234", "123456123456", "123123123123", "111111111111", "000000000000",
	"password1234", "password12345", "password123456", "passwordpassword", "passw0rd1234", "qwertyuiop12", "qwertyuiop123",
	"qwerty123456", "qwertyqwerty", "1q2w3e4r5t6y", "1qaz2wsx3edc", "iloveyou1234", "letmein12345", "administrator",
	"changemechangeme", "correcthorsebatterystaple", "correct horse battery staple", "abcdefghijkl", "moltworker12", "moltworker123",
}

// checkPassword refuses passwords that are found at once. There are no rules on
// what one is made of.
func checkPassword(name, password string) error {
	folded := strings.ToLower(password)
	switch {
	case len(password) < minPassword:
		return invalid("the password is too short", fmt.Sprintf("use at least %d characters; a few words make a good one", minPassword))
	case len(password) > maxPassword:
		return invalid("the password is too long", fmt.Sprintf("use at most %d bytes", maxPassword))
	case !utf8.ValidString(password) || strings.ContainsAny(password, "\r\n\x00"):
		return invalid("the password has characters that cannot be typed everywhere", "use letters, digits, spaces and signs")
	case folded == strings.ToLower(name):
		return invalid("the password is the name", "use another one; a few words make a good one")
	case slices.Contains(commonest, folded) || strings.Count(password, password[:1]) == len(password):
		return invalid("the password is one that everybody tries first", "use another one; a few words make a good one")
	}
	return nil
}

// cost is what one guess takes.
type cost struct {
	memory uint32 // KiB
	time   uint32
}

var passwordCost = cost{memory: 64 << 10, time: 3}

const (
	saltSize = 16
	hashSize = 32
)

// lane says in which queue somebody waits for a password to be hashed.
type lane int

const (
	stranger lane = iota
	known         // somebody who has signed in from this device, or shows a link
)

// hasher hashes passwords, two at once, of them one of strangers: a flood takes
// neither the memory nor the way of those who are known.
type hasher struct {
	cost    cost
	both    chan struct{}
	open    chan struct{} // for strangers, beside both
	waiting atomic.Int32
	dummy   string
	hashes  atomic.Int64 // done so far, for tests
}

const maxWaiting = 16

func newHasher(c cost) (*hasher, error) {
	h := &hasher{cost: c, both: make(chan struct{}, 2), open: make(chan struct{}, 1)}
	// Nobody's password: it is checked when there is none to check.
	salt, sum := make([]byte, saltSize), make([]byte, hashSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("make a salt: %w", err)
	}
	if _, err := rand.Read(sum); err != nil {
		return nil, fmt.Errorf("make a salt: %w", err)
	}
	h.dummy = h.encode(salt, sum)
	return h, nil
}

// hash returns a password's PHC string.
func (h *hasher) hash(ctx context.Context, password string, l lane) (string, error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	sum, err := h.derive(ctx, password, salt, h.cost, l)
	if err != nil {
		return "", err
	}
	return h.encode(salt, sum), nil
}

// matches says whether password is the one of a PHC string. For "" it does the
// same work and says no.
func (h *hasher) matches(ctx context.Context, phc, password string, l lane) (bool, error) {
	real := phc != "" && len(password) <= maxPassword
	if !real {
		phc, password = h.dummy, ""
	}
	c, salt, want, err := decode(phc)
	if err != nil {
		return false, err
	}
	sum, err := h.derive(ctx, password, salt, c, l)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(sum, want) == 1 && real, nil
}

// derive waits for its turn and does the work.
func (h *hasher) derive(ctx context.Context, password string, salt []byte, c cost, l lane) ([]byte, error) {
	if h.waiting.Add(1) > maxWaiting && l == stranger {
		h.waiting.Add(-1)
		return nil, limited(firstWait)
	}
	defer h.waiting.Add(-1)
	queues := []chan struct{}{h.both}
	if l == stranger {
		queues = []chan struct{}{h.open, h.both}
	}
	for _, q := range queues {
		select {
		case q <- struct{}{}:
			defer func() { <-q }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	h.hashes.Add(1)
	return argon2.IDKey([]byte(password), salt, c.time, c.memory, 1, hashSize), nil
}

func (h *hasher) encode(salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, h.cost.memory, h.cost.time, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

func decode(phc string) (c cost, salt, sum []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) == 6 && parts[1] == "argon2id" && parts[2] == fmt.Sprintf("v=%d", argon2.Version) {
		_, err = fmt.Sscanf(parts[3], "m=%d,t=%d,p=1", &c.memory, &c.time)
		if err == nil && c.memory <= 256<<10 && c.time > 0 && c.time <= 16 {
			salt, err = base64.RawStdEncoding.DecodeString(parts[4])
			if err == nil {
				sum, err = base64.RawStdEncoding.DecodeString(parts[5])
			}
			if err == nil && len(salt) == saltSize && len(sum) == hashSize {
				return c, salt, sum, nil
			}
		}
	}
	return c, nil, nil, fmt.Errorf("a password is kept in a form that this moltworker does not know")
}
