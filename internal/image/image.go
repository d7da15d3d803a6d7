// Package image owns the memory images of sleeping agents on disk: how one is
// laid down, bound to what it fits, sealed, compressed, used once, set aside
// when it is bad, and evicted when space is short. It must not know which
// sandbox driver wrote an image, what ran inside or why the agent sleeps: an
// image is a flat directory of files that a driver writes and reads, for one
// agent typically one of 500 to 750 MB and two small ones.
//
// # On disk
//
// A Store has one directory, 0700 and ours, on the file system where images
// stay:
//
//	image/          the image: manifest.json (0600) and files/
//	draft-*         an image being written             removed by Open
//	taken-*         an image being restored, or spent  removed by Open
//	cooling-*       a compressed copy being written    removed by Open
//	bad/            at most one image set aside, with reason.txt
//
// A draft becomes the image by one rename, when all its bytes are on stable
// storage. The image is renamed, durably, before anyone restores from it: what
// happens after that cannot bring it back. Cool adds the compressed files beside
// the plain ones and then replaces the manifest, which alone says what counts.
//
// # What is checked
//
// A manifest is authenticated with the agent's key. It names for each file its
// size and a sum: the SHA-256 of the CRC-32C (Castagnoli, big endian) of each of
// its 1 MiB chunks. That finds what disks and lost power do to a file. Against
// somebody who writes to our files it protects only sealed images, which their
// AEAD covers; plain ones rely on the permissions. Reading and summing 700 MB
// takes 51 ms on one core and 33 ms on two (page cache warm), under a tenth of a
// wake: so Taken.Verify is always meant to be called, beside the restore. As the
// restore wants the same cores, young images are spared ([Options.VerifyAfter]).
//
// # What is sealed
//
// Images hold whatever the agent had in memory. A driver needs plain files, so a
// sealed image must be written out in plain before it is restored. Measured for
// 700 MB on two cores of an AMD EPYC, page cache warm, against a wake of 0.6 s:
//
//	                                   one core   two cores
//	read and decrypt only               156 ms      83 ms    14..26 % of the wake
//	the same, written to tmpfs          694 ms     409 ms    68..116 %
//	the same, written to a memfd        960 ms     276 ms    46..160 %
//	the same, written to ext4           758 ms     467 ms    78..126 %
//
// The cipher would be affordable, the copy it forces is not. Hence the policy
// Auto: a recent image stays plain in files of mode 0600, and is sealed when it
// is compressed, as a compressed one has to be written out anyway. Until then,
// and in freed disk blocks afterwards, an agent's memory can be read by who
// holds the disk. Always seals from the start and lets plain bytes exist in
// memory only (Options.Memory), for more than half a second a wake; an encrypted
// disk gives the same for less. Never leaves compressed images plain too.
//
// The whole Take of 700 MB (BenchmarkStore, one busy machine): plain 0.2 ms and
// Verify 37 ms; always sealed 320 ms; compressed and sealed 520 ms, into memory.
// Cool took 2 s, Commit 0.22 s, or 1 s when it seals.
//
// With Auto, a sealed image is written out into memory when there is plenty, else
// to disk, where it is removed after the restore.
//
// # Packed files
//
// A sealed or compressed file is called NAME.sealed, NAME.packed or
// NAME.packed-sealed and consists of
//
//	8 bytes    "mwimg1" and two digits: compressed, sealed (each "0" or "1")
//	records    4 bytes, big endian: the length of the body; the top bit is set
//	           in the last record only
//	           the body
//
// and nothing after the last record. Each record holds 1 MiB of the file, the
// last what remains (1 byte to 1 MiB; none when the file is empty). The chunk,
// as one zstd frame if compressed, is the body, or if sealed the body is
//
//	AES-256-GCM(key, nonce, chunk, additional data = the 4 bytes of length)
//	key   = HKDF-SHA256(image key, no salt, "moltworker image 1 file " + name of the packed file)
//	nonce = 11 bytes, big endian: the number of the record from 0; 1 byte: 1 in the last, else 0
//
// which is the STREAM construction with the nonces of age's payload. The image
// key is 32 random bytes, new whenever files are sealed, so that no key seals two
// contents. age itself was not used for this as its chunks of 64 KiB with
// ChaCha20-Poly1305 can be opened in parallel only one read at a time, and its
// recipients cannot bind a manifest.
//
// The manifest is {"image": M, "salt": S, "lock": L}: M is the image's
// description ([Manifest]), S 32 random bytes, new for every writing, and
//
//	L = AES-256-GCM(HKDF-SHA256(agent's key, S, "moltworker image 1 manifest"), nonce 0,
//	    the image key or nothing, additional data = the bytes of M)
//
// so giving an image to another agent needs a new manifest only.
package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNone: there is no image.
	ErrNone = errors.New("no image")
	// ErrMismatch: the image was made for something else. It is left as it is.
	ErrMismatch = errors.New("image does not fit")
	// ErrCorrupt: the image is damaged, or was not made with the agent's key.
	ErrCorrupt = errors.New("image is damaged")
	// ErrUsed: the draft or taken image has been dealt with already.
	ErrUsed = errors.New("image is used already")
)

// Binding is what an image must match to be used. Two are compared for equality.
type Binding struct {
	Agent      string `json:"agent"`      // its name
	Generation uint64 `json:"generation"` // counts the starts of sandboxes on the agent's state
	Runtime    string `json:"runtime"`    // version of what runs inside
	Format     string `json:"format"`     // what the sandbox driver depends on
	Spec       string `json:"spec"`       // digest of how the sandbox is set up
}

// Differs says in words how b, what an image is bound to, differs from want, and
// "" if it does not.
func (b Binding) Differs(want Binding) string {
	switch {
	case b.Agent != want.Agent:
		return fmt.Sprintf("it belongs to agent %q, not to %q", b.Agent, want.Agent)
	case b.Generation != want.Generation:
		return fmt.Sprintf("it is of generation %d of the agent's state, which is at %d", b.Generation, want.Generation)
	case b.Runtime != want.Runtime:
		return fmt.Sprintf("it was made with runtime %q, not %q", b.Runtime, want.Runtime)
	case b.Format != want.Format:
		return fmt.Sprintf("it was made by sandbox driver or machine %q, not %q", b.Format, want.Format)
	case b.Spec != want.Spec:
		return "the sandbox is set up differently now"
	}
	return ""
}

// Manifest describes an image.
type Manifest struct {
	Version    int             `json:"version"` // 1
	ID         string          `json:"id"`      // random, new for each draft
	Created    time.Time       `json:"created"` // when the draft was committed
	Binding    Binding         `json:"binding"`
	Compressed bool            `json:"compressed"`
	Sealed     bool            `json:"sealed"`
	Files      []File          `json:"files"`
	Meta       json.RawMessage `json:"meta,omitempty"` // the owner's
}

// File is one file of an image, as a driver sees it.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes, plain
	Sum    string `json:"sum"`    // hex; see the package comment
	Stored int64  `json:"stored"` // bytes of the file on disk
}

// Size is that of the image's files when plain, in bytes.
func (m Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Policy says which images are sealed.
type Policy int

const (
	Auto   Policy = iota // compressed ones
	Always               // all; plain bytes are never on disk
	Never                // none
)

// ParsePolicy reads "auto", "always" or "never".
func ParsePolicy(s string) (Policy, error) {
	for p := Auto; p <= Never; p++ {
		if p.String() == s {
			return p, nil
		}
	}
	return Auto, fmt.Errorf("seal images %q: use auto, always or never", s)
}

func (p Policy) String() string {
	switch p {
	case Always:
		return "always"
	case Never:
		return "never"
	}
	return "auto"
}
