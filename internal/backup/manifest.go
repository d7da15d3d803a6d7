package backup

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/zeebo/blake3"
)

// format is the name of what this package writes, version included.
const format = "moltworker-backup/1"

const (
	maxManifest    = 8 << 20 // bytes, unpacked
	maxTags        = 64
	maxTag         = 1 << 10 // bytes of a tag's name and value
	maxReason      = 1 << 10 // bytes
	manifestDigits = 16      // of a version's number in an object's name
)

// manifest is what makes a version.
type manifest struct {
	Format string `json:"format"`
	Vault  string `json:"vault"`
	Version
	// Claimed: the first version of its epoch.
	Claimed bool `json:"claimed,omitempty"`
	// Removed: the version was let go of; what is left keeps its number taken.
	Removed bool `json:"removed,omitempty"`
	// Packs has the IDs of the packs that the segments are in, one after another.
	Packs []byte `json:"packs,omitempty"`
	// Segments has for each the index of its pack in Packs, and its ordinal there.
	Segments [][2]uint32 `json:"segments,omitempty"`
	// Root is the hash of all segments' chunk IDs.
	Root string `json:"root,omitempty"`

	size int64 // of the object that it was read from
}

// version is what people see of it: the object itself counts as stored.
func (m *manifest) version() Version {
	out := m.Version
	out.Stored += m.size
	if m.size > 0 {
		out.Objects++
	}
	return out
}

var errManifest = errors.New("it is not a well-formed version")

// versionID is how a version is called.
func versionID(seq uint64) string { return fmt.Sprintf("%0*x", manifestDigits, seq) }

// parseVersionID undoes versionID.
func parseVersionID(id string) (uint64, bool) {
	seq, err := strconv.ParseUint(id, 16, 64)
	return seq, err == nil && seq > 0 && versionID(seq) == id
}

// encode returns the bytes to seal.
func (m *manifest) encode() ([]byte, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write version: %w", err)
	}
	if len(data) > maxManifest {
		return nil, fmt.Errorf("write version: %d bytes say what is in it, at most %d may", len(data), maxManifest)
	}
	return press(nil, data), nil
}

// decodeManifest reads what was sealed as version seq of a vault.
func decodeManifest(plain []byte, vault string, seq uint64) (*manifest, error) {
	data, err := unpress(plain, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	m := new(manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	switch {
	case m.Format != format:
		return nil, fmt.Errorf("%w: its format is %.40q, and this program knows %q", errManifest, m.Format, format)
	case m.Vault != vault || m.Seq != seq || m.ID != versionID(seq):
		return nil, fmt.Errorf("%w: it belongs elsewhere", errManifest)
	case len(m.Packs)%idSize != 0:
		return nil, errManifest
	}
	packs := uint32(len(m.Packs) / idSize)
	for _, s := range m.Segments {
		if s[0] >= packs || s[1] >= maxPackChunks {
			return nil, errManifest
		}
	}
	m.Damaged = ""
	return m, nil
}

// pack returns the ID of the pack that a segment is in.
func (m *manifest) pack(segment int) packID {
	i := int(m.Segments[segment][0]) * idSize
	return packID(m.Packs[i : i+idSize])
}

// setSegments names where the segments are, and their root.
func (m *manifest) setSegments(segments []segmentRef) {
	var local packTable
	var ids []chunkID
	m.Segments = make([][2]uint32, 0, len(segments))
	for _, s := range segments {
		m.Segments = append(m.Segments, [2]uint32{local.number(s.pack), s.ordinal})
		ids = append(ids, s.id)
	}
	m.Packs = nil
	for _, id := range local.ids {
		m.Packs = append(m.Packs, id[:]...)
	}
	m.Root = rootOf(ids)
}

// segmentRef is where a segment is.
type segmentRef struct {
	id      chunkID
	pack    packID
	ordinal uint32
}

// rootOf is the Root of segments with these IDs.
func rootOf(ids []chunkID) string {
	h := blake3.New()
	for i := range ids {
		h.Write(ids[i][:])
	}
	return hex.EncodeToString(h.Sum(nil))
}
