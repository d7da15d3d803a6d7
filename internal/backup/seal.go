package backup

import (
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"strconv"

	"golang.org/x/crypto/chacha20poly1305"
)

// sealOverhead is what sealing adds, in bytes: the nonce and the tag.
const sealOverhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// What is sealed. It is authenticated together with the object's name, so that
// nothing passes for something else, or in another place.
const (
	sealSlot     = "slot"
	sealAbout    = "about"
	sealManifest = "manifest"
	sealGarbage  = "garbage"
	sealFooter   = "footer"
	sealChunk    = "chunk"
)

// sealer encrypts with one key, with a random nonce each time.
type sealer struct{ aead cipher.AEAD }

func newSealer(key [keySize]byte) *sealer {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	return &sealer{aead}
}

// where is what a seal is bound to.
func where(kind, object string) []byte {
	return []byte("moltworker-backup/1 " + kind + " " + object)
}

// whereChunk binds a chunk to its place in a pack.
func whereChunk(object string, ordinal int) []byte {
	return strconv.AppendInt(append(where(sealChunk, object), ' '), int64(ordinal), 10)
}

// seal appends the sealed plain to dst.
func (s *sealer) seal(dst, plain, bound []byte) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, chacha20poly1305.NonceSizeX)...)
	rand.Read(dst[n:]) // never fails
	return s.aead.Seal(dst, dst[n:], plain, bound)
}

// open returns what was sealed. The error wraps ErrDamaged and names no object.
func (s *sealer) open(sealed, bound []byte) ([]byte, error) {
	if len(sealed) < sealOverhead {
		return nil, fmt.Errorf("%w: it is too short", ErrDamaged)
	}
	nonce, box := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plain, err := s.aead.Open(nil, nonce, box, bound)
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed, or belongs elsewhere", ErrDamaged)
	}
	return plain, nil
}

// damaged names the object that an error is about.
func damaged(object, why string) error {
	return fmt.Errorf("%w: object %s: %s", ErrDamaged, object, why)
}
