// Package secret owns what must not be seen: the sealed store of secrets, the
// type that carries a secret through the program without showing it, and the
// hosts a secret may be sent to. It must not know who uses a secret or how; it
// never logs, and no error of it contains a secret.
//
// # Files
//
// In the store's directory (mode 0700):
//
//	secrets.age     the secrets, one age file (age-encryption.org/v1, binary), mode 0600
//	secret.key      its X25519 identity in age's own notation, mode 0600; or
//	secret.key.age  the same identity, itself an age file under a passphrase (scrypt)
//	secrets.lock    empty; held with flock(2) during a change
//
// The age command opens them too: age -d -i secret.key secrets.age. Inside is
// JSON: {"format": "moltworker-secrets/1", "secrets": {NAME: {"value": base64,
// "created": RFC 3339, "updated": RFC 3339, "hosts": [HOST, ...]}}}.
//
// A change replaces secrets.age as a whole: a temporary file is written, synced
// and renamed over it, and the directory synced. A crash or a full disk at any
// moment leaves the old content or the new. A file that cannot be opened (torn,
// altered, another key) is reported and never written over.
package secret

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: no secret of that name.
	ErrNotFound = errors.New("secret not found")
	// ErrDamaged: the sealed file was cut off or altered, or belongs to
	// another key.
	ErrDamaged = errors.New("sealed secrets cannot be opened")
	// ErrInvalid: a name, value or host that cannot be kept.
	ErrInvalid = errors.New("invalid secret")
	// ErrPassphrase: the key is under a passphrase that is missing or wrong.
	ErrPassphrase = errors.New("passphrase needed")
)

// Bounds of the store.
const (
	MaxValue = 64 << 10 // bytes of one secret
	MaxCount = 500      // secrets in a store
	maxFile  = 4 << 20  // bytes of the opened content
)

var namePattern = regexp.MustCompile(`^(?:([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)/)?([A-Z][A-Z0-9_]{0,63})$`)

// ValidateName says whether name may name a secret: NAME, or AGENT/NAME for one
// that belongs to a single agent.
func ValidateName(name string) error {
	if namePattern.MatchString(name) {
		return nil
	}
	// What was given may be the secret itself, in the wrong place.
	return fmt.Errorf("%w: what was given is not a name: use capital letters, digits and _ (at most 64, a letter first), with AGENT/ before it when it is for one agent only", ErrInvalid)
}

// ScopedName is the name of a secret that belongs to one agent.
func ScopedName(agent, name string) string { return agent + "/" + name }

func validateValue(name, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%w: the value of %s is empty: give at least one byte, or remove the secret", ErrInvalid, name)
	case len(value) > MaxValue:
		return fmt.Errorf("%w: the value of %s has %d bytes: at most %d are kept", ErrInvalid, name, len(value), MaxValue)
	}
	return nil
}

// GenerateToken makes a token for the gateway: 43 characters that may stand in
// a URL, 256 random bits.
func GenerateToken() string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails: it ends the program when there is no randomness
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// trimScope gives the NAME of AGENT/NAME.
func trimScope(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
