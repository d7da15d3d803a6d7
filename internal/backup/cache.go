package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"

	"github.com/moltworker/moltworker/internal/atomicfile"
)

// The cache of a vault is two files. "tree" is the newest version as it was stored,
// with the stamps of its files. "packs" has the tables of the packs it refers to,
// one after another. Both are checked when they are read, and what is missing is
// read from the store again.
const (
	treeFile   = "tree"
	packsFile  = "packs"
	claimFile  = "claim"
	treeMagic  = "moltworker backup tree 1\n"
	maxCache   = 1 << 30 // bytes of either file
	tableCheck = 8       // bytes of a table's checksum
)

// cacheDir is "" when there is none.
func (v *Vault) cacheDir() string {
	if v.opts.Cache == "" {
		return ""
	}
	return filepath.Join(v.opts.Cache, v.repo.id, v.keys.vault)
}

// openCache reads the file "tree": which version it is, and the object of its
// manifest.
func (v *Vault) openCache() (seq uint64, object []byte, rest input, ok bool) {
	data, err := v.readCacheFile(treeFile)
	if err != nil || len(data) < len(treeMagic)+32 || string(data[:len(treeMagic)]) != treeMagic {
		return 0, nil, rest, false
	}
	data = data[len(treeMagic):]
	if sum := blake3.Sum256(data[32:]); !bytes.Equal(sum[:], data[:32]) {
		return 0, nil, rest, false
	}
	rest = input{rest: data[32:]}
	seq = rest.uvarint()
	object = rest.bytes(rest.count(maxManifest))
	return seq, object, rest, !rest.bad
}

// readCache fills in b, which has its manifest already, from the cache, if that is
// of the same version.
func (v *Vault) readCache(b *base) (stamps []stamp, ok bool) {
	_, object, in, ok := v.openCache()
	if !ok || !bytes.Equal(object, b.object) {
		return nil, false
	}
	var packs packTable
	var tree treeCheck
	var entries []entry
	var raw [][]byte
	var ids []chunkID
	for range in.count(maxEntries) {
		segment := in.bytes(in.count(maxRaw))
		part, err := decodeSegment(segment, &packs)
		if err == nil {
			entries, err = tree.join(entries, part)
		}
		if err != nil {
			return nil, false
		}
		raw = append(raw, segment)
		ids = append(ids, v.keys.chunkID(chunkSegment, segment))
	}
	stamps = make([]stamp, len(entries))
	for i := range stamps {
		stamps[i] = decodeStamp(&in)
	}
	if in.bad || len(in.rest) > 0 || rootOf(ids) != b.m.Root {
		return nil, false
	}
	b.packs, b.entries, b.raw = packs, entries, raw
	return stamps, true
}

// readCacheFile reads a file of the cache that is not too large.
func (v *Vault) readCacheFile(name string) ([]byte, error) {
	dir := v.cacheDir()
	if dir == "" {
		return nil, fs.ErrNotExist
	}
	path := filepath.Join(dir, name)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCache {
		return nil, errors.New("it is not ours")
	}
	return os.ReadFile(path)
}

// writeCache keeps the base. A failure is only slower: it is logged.
func (v *Vault) writeCache(b *base) {
	if v.cacheDir() == "" || b.m == nil {
		return
	}
	body := binary.AppendUvarint(nil, b.m.Seq)
	body = binary.AppendUvarint(body, uint64(len(b.object)))
	body = append(body, b.object...)
	body = binary.AppendUvarint(body, uint64(len(b.raw)))
	for _, segment := range b.raw {
		body = binary.AppendUvarint(body, uint64(len(segment)))
		body = append(body, segment...)
	}
	for i := range b.stamps {
		body = appendStamp(body, &b.stamps[i])
	}
	sum := blake3.Sum256(body)
	data := append(append([]byte(treeMagic), sum[:]...), body...)
	if len(data) > maxCache {
		return
	}
	if err := v.writeCacheFile(treeFile, data); err != nil {
		v.opts.Log.Warn("the backup's cache was not written; the next backup reads more", "agent", v.agent, "err", err)
	}
}

func (v *Vault) writeCacheFile(name string, data []byte) error {
	dir := v.cacheDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the backup's cache: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(dir, name), data, 0o600); err != nil {
		return fmt.Errorf("write the backup's cache: %w", err)
	}
	return nil
}

func appendStamp(out []byte, s *stamp) []byte {
	settled := uint64(0)
	if s.settled {
		settled = 1
	}
	for _, n := range []uint64{s.ino, uint64(s.size), uint64(s.mode), uint64(s.uid), uint64(s.gid),
		uint64(s.sec), uint64(s.nsec), uint64(s.csec), uint64(s.cnsc), uint64(s.nlink), settled} {
		out = binary.AppendUvarint(out, n)
	}
	return out
}

func decodeStamp(in *input) stamp {
	return stamp{ino: in.uvarint(), size: int64(in.uvarint()), mode: uint32(in.uvarint()), uid: uint32(in.uvarint()), gid: uint32(in.uvarint()),
		sec: int64(in.uvarint()), nsec: uint32(in.uvarint()), csec: int64(in.uvarint()), cnsc: uint32(in.uvarint()), nlink: uint32(in.uvarint()),
		settled: in.uvarint() == 1}
}

// readFooters reads the tables in the cache. From the first that is damaged on it
// cuts the file off: what a crash has left unfinished.
func (v *Vault) readFooters() map[packID]*footer {
	data, err := v.readCacheFile(packsFile)
	if err != nil {
		return nil
	}
	known := map[packID]*footer{}
	size := len(data)
	for len(data) >= idSize+4+tableCheck {
		n := int(binary.LittleEndian.Uint32(data[idSize:]))
		end := idSize + 4 + n
		if n > maxFooter || len(data) < end+tableCheck {
			break
		}
		sum := blake3.Sum256(data[:end])
		f, err := decodeFooter(data[idSize+4 : end])
		if err != nil || !bytes.Equal(sum[:tableCheck], data[end:end+tableCheck]) {
			break
		}
		known[packID(data[:idSize])] = f
		data = data[end+tableCheck:]
	}
	if len(data) > 0 {
		// If that fails, the tables are only read from the store again.
		_ = os.Truncate(filepath.Join(v.cacheDir(), packsFile), int64(size-len(data)))
	}
	return known
}

// addFooters keeps the tables of packs. When most of what the cache has is of packs
// that b does not refer to any more, it is written anew.
func (v *Vault) addFooters(b *base, packs []writtenPack) {
	dir := v.cacheDir()
	if dir == "" || len(packs) == 0 {
		return
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = v.compactFooters(b, packs)
	}
	if err != nil {
		v.opts.Log.Warn("the backup's cache was not written; the next start reads more", "agent", v.agent, "err", err)
	}
}

func (v *Vault) compactFooters(b *base, packs []writtenPack) error {
	path := filepath.Join(v.cacheDir(), packsFile)
	var added []byte
	for _, p := range packs {
		added = appendTable(added, p.id, p.footer)
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() && info.Size()+int64(len(added)) < int64(4<<20+80*len(b.index)) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(added)
		return errors.Join(err, f.Close())
	}
	used := b.used()
	var data []byte
	for id, f := range v.readFooters() {
		if n, ok := b.packs.index[id]; ok && used[n] {
			data = appendTable(data, id, encodeFooter(f.chunks))
		}
	}
	if len(data)+len(added) > maxCache {
		return os.Remove(path)
	}
	return v.writeCacheFile(packsFile, append(data, added...))
}

func appendTable(out []byte, id packID, table []byte) []byte {
	n := len(out)
	out = append(out, id[:]...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(table)))
	out = append(out, table...)
	sum := blake3.Sum256(out[n:])
	return append(out, sum[:tableCheck]...)
}
