package backup

import (
	"encoding/hex"
	"sync"

	"github.com/zeebo/blake3"
)

// Sizes in bytes.
const (
	keySize = 32
	idSize  = 16 // of repositories, vaults and packs
)

// The context strings of every derived key.
const (
	contextRepo    = "moltworker backup 1 repository id"
	contextRecords = "moltworker backup 1 records"
	contextName    = "moltworker backup 1 vault name"
	contextVault   = "moltworker backup 1 vault"
	contextSeal    = "moltworker backup 1 seal"
	contextChunk   = "moltworker backup 1 chunk id"
	contextContent = "moltworker backup 1 content"
	contextCut     = "moltworker backup 1 cut"
)

type (
	masterKey [keySize]byte
	packID    [idSize]byte
	// chunkID names what a chunk holds: keyed BLAKE3 of its kind and its bytes.
	chunkID [keySize]byte
	// contentHash names what a file holds.
	contentHash [idSize]byte
)

func (p packID) String() string { return hex.EncodeToString(p[:]) }

func derive(context string, material ...[]byte) [keySize]byte {
	var out [keySize]byte
	h := blake3.NewDeriveKey(context)
	for _, m := range material {
		h.Write(m)
	}
	h.Digest().Read(out[:])
	return out
}

// keyed returns a hasher; key has keySize bytes, so there is no error.
func keyed(key [keySize]byte) *blake3.Hasher {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err)
	}
	return h
}

// repositoryID is bound to the key, so that a key slot of another repository is
// noticed.
func (m masterKey) repositoryID() string {
	id := derive(contextRepo, m[:])
	return hex.EncodeToString(id[:idSize])
}

// vaultID is the name that an agent's vault has in the store.
func (m masterKey) vaultID(agent string) string {
	h := keyed(derive(contextName, m[:]))
	h.WriteString(agent)
	return hex.EncodeToString(h.Sum(nil)[:idSize])
}

// keyring is the keys of one vault; they open nothing of another.
type keyring struct {
	vault   string // its ID
	seal    *sealer
	chunk   *hasherPool
	content *hasherPool
	cut     [keySize]byte
}

// hasherPool keeps hashers of one key: a new one has ten kilobytes.
type hasherPool struct {
	key  [keySize]byte
	pool sync.Pool
}

func (p *hasherPool) get() *blake3.Hasher {
	if h, ok := p.pool.Get().(*blake3.Hasher); ok {
		h.Reset()
		return h
	}
	return keyed(p.key)
}

func (p *hasherPool) put(h *blake3.Hasher) { p.pool.Put(h) }

func (m masterKey) keyring(vault string) keyring {
	id, err := hex.DecodeString(vault)
	if err != nil {
		panic(err) // callers have checked it
	}
	v := derive(contextVault, m[:], id)
	return keyring{
		vault:   vault,
		seal:    newSealer(derive(contextSeal, v[:])),
		chunk:   &hasherPool{key: derive(contextChunk, v[:])},
		content: &hasherPool{key: derive(contextContent, v[:])},
		cut:     derive(contextCut, v[:]),
	}
}

// chunkID names raw bytes of a kind.
func (k keyring) chunkID(kind byte, raw []byte) (id chunkID) {
	h := k.chunk.get()
	defer k.chunk.put(h)
	h.Write([]byte{kind})
	h.Write(raw)
	h.Sum(id[:0])
	return id
}

// cutsAfter says whether a segment ends after the entry at path, unless it has
// ended before: about one of 256 paths.
func (k keyring) cutsAfter(path string) bool {
	h := keyed(k.cut)
	h.WriteString(path)
	return h.Sum(nil)[0] == 0
}

func parsePackID(name string) (id packID, ok bool) {
	if !isHex(name, 2*idSize) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(name))
	return id, err == nil
}
