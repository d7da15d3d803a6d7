// Package passkeytest owns an authenticator in software, for tests: it makes
// passkeys and signs with them as a browser and its device do together.
//
// It must not be imported by anything but tests.
package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// Device is an authenticator. The zero value is a new one, which verifies its user.
type Device struct {
	// Unverified makes it say that it did not verify who its user is.
	Unverified bool
	// Counter is what it counts signatures from; with Counting false it always says 0.
	Counter  uint32
	Counting bool

	keys []key
}

type key struct {
	id, user []byte
	rp       string
	private  *ecdsa.PrivateKey
}

var b64 = base64.RawURLEncoding

type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RP        struct {
			ID string `json:"id"`
		} `json:"rp"`
		RPID string `json:"rpId"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
	} `json:"publicKey"`
}

// Create answers navigator.credentials.create on a page of origin. with are the
// options as they came from the server.
func (d *Device) Create(origin string, with []byte) ([]byte, error) {
	var o options
	if err := json.Unmarshal(with, &o); err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	user, err := b64.DecodeString(o.PublicKey.User.ID)
	if err != nil {
		return nil, fmt.Errorf("user handle: %w", err)
	}
	k := key{id: make([]byte, 32), user: user, rp: o.PublicKey.RP.ID, private: private}
	if _, err := rand.Read(k.id); err != nil {
		return nil, err
	}
	d.keys = append(d.keys, k)
	point, err := private.PublicKey.Bytes() // 04, x, y
	if err != nil {
		return nil, err
	}
	data := d.authData(k.rp, 0x40)
	data = append(data, make([]byte, 16)...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(k.id)))
	data = append(data, k.id...)
	data = append(data, 0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20) // EC2, ES256, P-256, x
	data = append(data, point[1:33]...)
	data = append(data, 0x22, 0x58, 0x20) // y
	data = append(data, point[33:]...)
	object := []byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58")
	object = append(object, byte(len(data)))
	object = append(object, data...)
	return answer(k.id, map[string]string{
		"clientDataJSON":    b64.EncodeToString(clientData("webauthn.create", origin, o.PublicKey.Challenge)),
		"attestationObject": b64.EncodeToString(object),
	})
}

// Get answers navigator.credentials.get on a page of origin with the newest of
// the device's passkeys for that host.
func (d *Device) Get(origin string, with []byte) ([]byte, error) {
	var o options
	if err := json.Unmarshal(with, &o); err != nil {
		return nil, err
	}
	for i := len(d.keys) - 1; i >= 0; i-- {
		if k := d.keys[i]; k.rp == o.PublicKey.RPID {
			return d.sign(k, origin, o.PublicKey.Challenge)
		}
	}
	return nil, errors.New("no passkey for " + o.PublicKey.RPID)
}

func (d *Device) sign(k key, origin, challenge string) ([]byte, error) {
	d.Counter++
	data, client := d.authData(k.rp, 0), clientData("webauthn.get", origin, challenge)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, k.private, digest[:])
	if err != nil {
		return nil, err
	}
	return answer(k.id, map[string]string{
		"clientDataJSON":    b64.EncodeToString(client),
		"authenticatorData": b64.EncodeToString(data),
		"signature":         b64.EncodeToString(signature),
		"userHandle":        b64.EncodeToString(k.user),
	})
}

func (d *Device) authData(rp string, flags byte) []byte {
	flags |= 0x01 // user present
	if !d.Unverified {
		flags |= 0x04
	}
	counter := uint32(0)
	if d.Counting {
		counter = d.Counter
	}
	hash := sha256.Sum256([]byte(rp))
	return binary.BigEndian.AppendUint32(append(hash[:], flags), counter)
}

func clientData(kind, origin, challenge string) []byte {
	data, _ := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false})
	return data
}

func answer(id []byte, response map[string]string) ([]byte, error) {
	return json.Marshal(map[string]any{"id": b64.EncodeToString(id), "rawId": b64.EncodeToString(id), "type": "public-key",
		"clientExtensionResults": map[string]any{}, "response": response})
}
