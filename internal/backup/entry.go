package backup

import (
	"bytes"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Bounds of a tree; what is beyond them is not taken, and refused when read.
const (
	maxPath    = 32 << 10 // bytes
	maxDepth   = 512
	maxEntries = 5_000_000
	maxTarget  = 8 << 10  // bytes of a symbolic link
	maxXattrs  = 64 << 10 // bytes of all names and values of an entry
	maxXattr   = 256      // how many of them
	// maxListing bounds the names, targets and attributes of a whole tree, in bytes.
	maxListing = 512 << 20
)

// The kinds of records in a segment.
const (
	recordDir     = 'd'
	recordFile    = 'f'
	recordSymlink = 'l'
	recordLink    = 'h' // a hard link to an earlier file
	recordMore    = 'm' // more of the content of the file before
)

// hole as a run's pack: the content is zeros, n of them.
const hole = ^uint32(0)

// run is a piece of a file's content: n chunks of a pack from ordinal first on,
// or a hole of n bytes. pack is an index in a packTable.
type run struct {
	pack, first uint32
	n           int64
}

type xattr struct {
	name  string
	value string
}

// entry is an [Entry] with all that the repository knows of it. Only recordFile
// has size, hash and runs; of recordLink only path and target count.
type entry struct {
	path     string // "" is the root
	kind     byte
	mode     uint32 // permission, set-id and sticky bits as Unix has them
	uid, gid uint32
	sec      int64 // of last modification
	nsec     uint32
	xattrs   []xattr
	target   string // of a symbolic link, or the first path of a hard link
	size     int64
	hash     contentHash
	runs     []run
}

// packTable numbers packs.
type packTable struct {
	ids   []packID
	index map[packID]uint32
}

func (t *packTable) number(id packID) uint32 {
	if n, ok := t.index[id]; ok {
		return n
	}
	if t.index == nil {
		t.index = map[packID]uint32{}
	}
	n := uint32(len(t.ids))
	t.ids = append(t.ids, id)
	t.index[id] = n
	return n
}

// cut forgets all packs from number n on.
func (t *packTable) cut(n int) {
	for _, id := range t.ids[n:] {
		delete(t.index, id)
	}
	t.ids = t.ids[:n]
}

// appendRun adds a run, joined to the last one where they continue.
func appendRun(runs []run, r run) []run {
	if n := len(runs); n > 0 {
		last := &runs[n-1]
		if last.pack == r.pack && (r.pack == hole || int64(last.first)+last.n == int64(r.first)) {
			last.n += r.n
			return runs
		}
	}
	return append(runs, r)
}

// sameAs says whether two entries are the same state. When a directory was
// last changed does not count: a file that came and went leaves nothing else.
func (e *entry) sameAs(o *entry) bool {
	if e.kind != o.kind || e.path != o.path || e.target != o.target {
		return false
	}
	return e.kind == recordLink || e.sameMeta(o) && e.sameContent(o)
}

func (e *entry) sameMeta(o *entry) bool {
	return e.mode == o.mode && e.uid == o.uid && e.gid == o.gid && slices.Equal(e.xattrs, o.xattrs) &&
		(e.kind == recordDir || e.sec == o.sec && e.nsec == o.nsec)
}

func (e *entry) sameContent(o *entry) bool {
	return e.size == o.size && bytes.Equal(e.hash[:], o.hash[:])
}

func (e *entry) public() Entry {
	out := Entry{Path: e.path, Kind: KindFile, Mode: fileMode(e.mode), UID: e.uid, GID: e.gid,
		Time: time.Unix(e.sec, int64(e.nsec)).UTC(), Size: e.size}
	switch e.kind {
	case recordDir:
		out.Kind = KindDir
	case recordSymlink:
		out.Kind, out.Target = KindSymlink, e.target
	case recordLink:
		out.Link = e.target
	}
	return out
}

// fileMode turns Unix's bits into Go's.
func fileMode(mode uint32) fs.FileMode {
	out := fs.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&bit != 0 {
			out |= flag
		}
	}
	return out
}

// validPath says whether p may stand in a tree.
func validPath(p string) bool {
	if len(p) > maxPath || strings.IndexByte(p, 0) >= 0 {
		return false
	}
	depth := 0
	for part := range strings.SplitSeq(p, "/") {
		if depth++; part == "" || part == "." || part == ".." || len(part) > 255 || depth > maxDepth {
			return false
		}
	}
	return true
}

// parent is the path of the directory that p is in.
func parent(p string) string {
	return p[:max(strings.LastIndexByte(p, '/'), 0)]
}
