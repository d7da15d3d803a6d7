package accounts

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// What a browser keeps for us between two steps of a sign-in is sealed with a key
// of this process's. So nobody who asks for a first step takes any of our memory.

func newSealing(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make a seal: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make a seal: %w", err)
	}
	return seal, nil
}

func (a *Accounts) seal(v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal a step: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(a.sealing.Seal(nil, nil, plain, nil)), nil
}

var errSeal = errors.New("not sealed by us")

func (a *Accounts) unseal(text string, into any) error {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return errSeal
	}
	plain, err := a.sealing.Open(nil, nil, sealed, nil)
	if err != nil || json.Unmarshal(plain, into) != nil {
		return errSeal
	}
	return nil
}

// randomLetters is text of n base62 characters, all equally likely.
func randomLetters(n int) string {
	out := make([]byte, 0, n)
	buf := make([]byte, 64)
	for len(out) < n {
		_, _ = rand.Read(buf) // never fails: the program ends instead
		for _, b := range buf {
			if b < 62*4 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	return string(out)
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
