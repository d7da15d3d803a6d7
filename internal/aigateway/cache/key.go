package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strings"
)

// Key stands for all requests that are the same.
type Key [sha256.Size]byte

// Scope is who shares answers: one agent, or those whom the owner of this host put
// under one name. An agent never chooses it.
type Scope struct {
	Name   string `json:"name"`
	Shared bool   `json:"shared,omitempty"`
}

// Request is all of a request that makes its answer. Two that differ anywhere have
// different keys, but for the order of members and the white space of a JSON body.
type Request struct {
	Scope      Scope
	Method     string
	Provider   string
	Path       string // of the endpoint, as it is sent
	Query      string
	Credential string   // name of the setting that pays
	Headers    []string // that change the answer, such as "anthropic-beta: ...", in a fixed order
	Custom     string   // cf-aig-cache-key, which stands in place of the body; "" for none
	Body       []byte
}

const keyVersion = "moltworker answer 1"

// Key works out the request's key.
func (r *Request) Key() Key {
	h := sha256.New()
	part(h, keyVersion)
	scope := "agent"
	if r.Scope.Shared {
		scope = "shared"
	}
	for _, s := range []string{scope, r.Scope.Name, r.Method, r.Provider, r.Path, r.Query, r.Credential} {
		part(h, s)
	}
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(r.Headers)))
	h.Write(n[:])
	for _, s := range r.Headers {
		part(h, s)
	}
	if r.Custom != "" {
		part(h, "custom")
		part(h, r.Custom)
	} else {
		hashBody(h, r.Body)
	}
	var key Key
	h.Sum(key[:0])
	return key
}

// part adds a text and where it ends.
func part(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

func hashBody(h hash.Hash, body []byte) {
	c := canonPool.Get().(*canon)
	defer c.release()
	if c.read(body) {
		part(h, "json")
		h.Write(c.form())
		return
	}
	part(h, "bytes")
	h.Write(body)
}

const fileSuffix = ".answer"

func fileName(key Key) string { return hex.EncodeToString(key[:]) + fileSuffix }

// keyOf reads a file's name; false when it is not one of ours.
func keyOf(name string) (key Key, ok bool) {
	digits, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(digits) != 2*len(key) || digits != strings.ToLower(digits) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(digits))
	return key, err == nil
}
