package backup

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func testKeys(n byte) keyring {
	var m masterKey
	m[0] = n
	return m.keyring(m.vaultID("clara"))
}

// TestKeysAreDerivedAsDocumented holds the derivation still: another one could not
// read what was written.
func TestKeysAreDerivedAsDocumented(t *testing.T) {
	var m masterKey
	for i := range m {
		m[i] = byte(i)
	}
	keys := m.keyring(m.vaultID("main"))
	for name, pair := range map[string][2]string{
		"repository": {m.repositoryID(), "a310a0ff548a7c2b2c4a4ecf02e2e766"},
		"vault":      {keys.vault, "88db541cfcd3e69967f0030af8fc0f37"},
		"chunk":      {hex.EncodeToString(keys.chunk.key[:]), "306a154a2ca33eec81b4eeab76c5e34422da300e0038cdebedc3c4a5f82c26e8"},
		"content":    {hex.EncodeToString(keys.content.key[:]), "89940d0f691e6f0f2dcbd866200835c2f68eb11f6c16b458fce66f179bb172fd"},
		"cut":        {hex.EncodeToString(keys.cut[:]), "709a229b70a9ed8035d24fb1c61e044c6d4bb5978bce573ddd9871cfc01dc8a3"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s, want %s", name, pair[0], pair[1])
		}
	}
}

func TestASealIsBoundToItsPlace(t *testing.T) {
	a, b := testKeys(1), testKeys(2)
	sealed := a.seal.seal(nil, []byte("text"), where(sealAbout, "v/x/about"))
	if plain, err := a.seal.open(sealed, where(sealAbout, "v/x/about")); err != nil || string(plain) != "text" {
		t.Fatalf("opened %q, %v", plain, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another kind":    func() ([]byte, error) { return a.seal.open(sealed, where(sealManifest, "v/x/about")) },
		"another name":    func() ([]byte, error) { return a.seal.open(sealed, where(sealAbout, "v/y/about")) },
		"another key":     func() ([]byte, error) { return b.seal.open(sealed, where(sealAbout, "v/x/about")) },
		"a chunk's place": func() ([]byte, error) { return a.seal.open(sealed, whereChunk("v/x/about", 0)) },
		"another bit":     func() ([]byte, error) { return a.seal.open(flipped(sealed), where(sealAbout, "v/x/about")) },
		"too short":       func() ([]byte, error) { return a.seal.open(sealed[:sealOverhead-1], where(sealAbout, "v/x/about")) },
		"nothing":         func() ([]byte, error) { return a.seal.open(nil, nil) },
	} {
		if plain, err := open(); !errors.Is(err, ErrDamaged) || plain != nil {
			t.Errorf("%s: opened %q, %v", name, plain, err)
		}
	}
	if bytes.Equal(a.seal.seal(nil, nil, nil), a.seal.seal(nil, nil, nil)) {
		t.Error("two seals are the same")
	}
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

func TestPress(t *testing.T) {
	for _, raw := range [][]byte{nil, []byte("a"), make([]byte, 100_000), noise(1, 70_000), prose(1, 300_000)} {
		pressed := press([]byte("before"), raw)
		if len(pressed) > len(raw)+7 {
			t.Errorf("%d bytes became %d", len(raw), len(pressed))
		}
		got, err := unpress(pressed[6:], len(raw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%d bytes came back as %d: %v", len(raw), len(got), err)
		}
		if len(raw) > 0 {
			if _, err := unpress(pressed[6:], len(raw)-1); !errors.Is(err, errPress) {
				t.Errorf("more than the limit: %v", err)
			}
		}
	}
	for _, bad := range [][]byte{nil, {2}, {pressedZstd}, {pressedZstd, 1, 2, 3, 4}} {
		if _, err := unpress(bad, 100); !errors.Is(err, errPress) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func someChunks() []chunkInfo {
	return []chunkInfo{
		{chunkID{1}, 100, 59, chunkData}, {chunkID{2}, 41, 0, chunkSegment}, {chunkID{3}, maxStored, maxRaw, chunkData}, {chunkID{4}, 0, 7, lostData},
	}
}

func TestFooter(t *testing.T) {
	f, err := decodeFooter(encodeFooter(someChunks()))
	check(t, err)
	if !reflect.DeepEqual(f.chunks, someChunks()) || f.offsets[0] != 0 || f.offsets[2] != 141 || len(f.offsets) != 5 {
		t.Errorf("came back as %+v", f)
	}
	whole := encodeFooter(someChunks())
	for n := range whole {
		if _, err := decodeFooter(whole[:n]); !errors.Is(err, errFooter) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	for name, bad := range map[string][]byte{
		"more":         append(bytes.Clone(whole), 0),
		"version":      append([]byte{9}, whole[1:]...),
		"kind":         encodeFooter([]chunkInfo{{kind: 'x'}}),
		"too large":    encodeFooter([]chunkInfo{{kind: chunkData, raw: maxRaw + 1}}),
		"too much":     encodeFooter([]chunkInfo{{kind: chunkData, stored: maxStored}, {kind: chunkData, stored: maxStored}, {kind: chunkData, stored: maxStored}, {kind: chunkData, stored: maxStored}}),
		"count":        {footerVersion, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"overlong int": append([]byte{footerVersion}, bytes.Repeat([]byte{0xff}, 11)...),
	} {
		if _, err := decodeFooter(bad); !errors.Is(err, errFooter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// someEntries is a tree with one of every kind of record.
func someEntries() ([]entry, packTable) {
	var packs packTable
	packs.number(packID{1})
	packs.number(packID{2})
	return []entry{
		{kind: recordDir, mode: 0o700, uid: 1, gid: 2, sec: -5, nsec: 999_999_999},
		{path: "a", kind: recordDir, mode: 0o1777, xattrs: []xattr{{"user.a", "\x00"}, {"user.b", ""}}},
		{path: "a/b", kind: recordFile, mode: 0o4755, uid: 1<<32 - 1, gid: 1<<32 - 1, sec: 1 << 40, size: 1 << 40,
			hash: contentHash{7}, runs: []run{{0, 3, 2}, {hole, 0, 1<<40 - 5}, {1, 0, 65536}}},
		{path: "a/\xff", kind: recordLink, target: "a/b"},
		{path: "b", kind: recordSymlink, mode: 0o777, target: "../x"},
	}, packs
}

// segmentsOf writes entries and reads them again.
func segmentsOf(t testing.TB, entries []entry, packs *packTable) (segments [][]byte) {
	t.Helper()
	w := segmentWriter{keys: testKeys(1), packs: packs, emit: func(raw []byte) error {
		segments = append(segments, raw)
		return nil
	}}
	check(t, w.write(entries))
	return segments
}

func TestSegmentsComeBack(t *testing.T) {
	entries, packs := someEntries()
	// A file whose content is in very many pieces, and many small files.
	many := entry{path: "many", kind: recordFile, size: 3 * recordRuns, hash: contentHash{9}}
	for i := range 3 * recordRuns {
		many.runs = append(many.runs, run{uint32(i % 2), uint32(i), 1})
	}
	entries = append(entries, many, entry{path: "n", kind: recordDir})
	for i := range 5000 {
		entries = append(entries, entry{path: "n/" + versionID(uint64(i)), kind: recordSymlink, target: "x"})
	}
	var all []entry
	var read packTable
	var tree treeCheck
	segments := segmentsOf(t, entries, &packs)
	for _, raw := range segments {
		if len(raw) > maxRaw {
			t.Errorf("a segment of %d bytes", len(raw))
		}
		part, err := decodeSegment(raw, &read)
		check(t, err)
		all, err = tree.join(all, part)
		check(t, err)
	}
	if len(segments) < 8 || len(all) != len(entries) {
		t.Fatalf("%d entries came back as %d in %d segments", len(entries), len(all), len(segments))
	}
	for i := range all {
		if all[i].runs != nil && len(all[i].runs) == 0 {
			all[i].runs = nil
		}
		if !reflect.DeepEqual(all[i], entries[i]) {
			t.Fatalf("entry %d: %.300v\n came back as %.300v", i, entries[i], all[i])
		}
	}
	if !reflect.DeepEqual(read.ids, packs.ids) {
		t.Errorf("packs %v came back as %v", packs.ids, read.ids)
	}
}

// TestAChangedEntryChangesOneSegment is why lists of files are cut by content.
func TestAChangedEntryChangesOneSegment(t *testing.T) {
	var packs packTable
	packs.number(packID{})
	list := func(n int) []entry {
		entries := []entry{{kind: recordDir}}
		for i := range n {
			entries = append(entries, entry{path: versionID(uint64(i)), kind: recordFile, size: 1, runs: []run{{0, uint32(i), 1}}})
		}
		return entries
	}
	before := map[string]bool{}
	for _, s := range segmentsOf(t, list(10_000), &packs) {
		before[string(s)] = true
	}
	entries := list(10_000)
	entries[5000].size = 2
	entries = append(entries[:7000], entries[7001:]...)
	fresh := 0
	for _, s := range segmentsOf(t, entries, &packs) {
		if !before[string(s)] {
			fresh++
		}
	}
	if fresh > 4 || len(before) < 20 {
		t.Errorf("%d of %d segments are new", fresh, len(before))
	}
}

func TestHostileSegmentsAreRefused(t *testing.T) {
	entries, packs := someEntries()
	root := entries[0]
	whole := segmentsOf(t, entries, &packs)[0]
	for n := range whole {
		if _, err := decodeSegment(whole[:n], &packTable{}); !errors.Is(err, errSegment) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	dir := func(path string) entry { return entry{path: path, kind: recordDir} }
	link := func(path, target string) entry { return entry{path: path, kind: recordLink, target: target} }
	for name, bad := range map[string][]entry{
		"no root":              {dir("a")},
		"a file as root":       {{kind: recordFile}},
		"two roots":            {root, root},
		"up":                   {root, dir("..")},
		"up, inside":           {root, dir("a"), dir("a/..")},
		"here":                 {root, dir(".")},
		"absolute":             {root, dir("/a")},
		"empty name":           {root, dir("a"), dir("a/")},
		"NUL":                  {root, dir("a\x00")},
		"no parent":            {root, dir("a/b")},
		"a file as parent":     {root, {path: "a", kind: recordFile}, dir("a/b")},
		"a link as parent":     {root, {path: "a", kind: recordSymlink, target: "/"}, dir("a/b")},
		"order":                {root, dir("b"), dir("a")},
		"twice":                {root, dir("a"), dir("a")},
		"link to later":        {root, link("a", "b")},
		"link to itself":       {root, link("a", "a")},
		"link outside":         {root, link("a", "../etc/passwd")},
		"empty symlink":        {root, {path: "a", kind: recordSymlink}},
		"NUL in symlink":       {root, {path: "a", kind: recordSymlink, target: "a\x00b"}},
		"more of nothing":      {root, {path: "a", kind: recordMore}},
		"long name":            {root, dir(strings.Repeat("a", 256))},
		"more of another file": {root, {path: "a", kind: recordFile}, {path: "b", kind: recordMore}},
	} {
		var tree treeCheck
		var all []entry
		var err error
		for _, raw := range segmentsOf(t, bad, &packs) {
			var part []entry
			if part, err = decodeSegment(raw, &packTable{}); err == nil {
				all, err = tree.join(all, part)
			}
			if err != nil {
				break
			}
		}
		if !errors.Is(err, errSegment) {
			t.Errorf("%s: taken: %v", name, err)
		}
	}
}

func TestManifest(t *testing.T) {
	m := &manifest{Format: format, Vault: "v", Claimed: true}
	m.Seq, m.ID, m.Agent, m.Time = 7, versionID(7), "clara", time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	m.Tags = map[string]string{"a": "b"}
	m.setSegments([]segmentRef{{chunkID{1}, packID{1}, 3}, {chunkID{2}, packID{2}, 0}, {chunkID{3}, packID{1}, 4}})
	plain, err := m.encode()
	check(t, err)
	got, err := decodeManifest(plain, "v", 7)
	check(t, err)
	if !reflect.DeepEqual(got, m) || got.pack(2) != (packID{1}) || len(got.Packs) != 32 {
		t.Errorf("%+v\n came back as %+v", m, got)
	}
	for name, do := range map[string]func() error{
		"another vault": func() error { _, err := decodeManifest(plain, "w", 7); return err },
		"another seq":   func() error { _, err := decodeManifest(plain, "v", 8); return err },
		"no JSON":       func() error { _, err := decodeManifest(press(nil, []byte("[]")), "v", 7); return err },
		"a pack beyond": func() error {
			bad := *m
			bad.Segments = [][2]uint32{{2, 0}}
			plain, _ := bad.encode()
			_, err := decodeManifest(plain, "v", 7)
			return err
		},
		"another format": func() error {
			bad := *m
			bad.Format = "moltworker-backup/2"
			plain, _ := bad.encode()
			_, err := decodeManifest(plain, "v", 7)
			return err
		},
	} {
		if err := do(); !errors.Is(err, errManifest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", "1", "0000000000000000", "000000000000000G", "00000000000000001", "000000000000000A"} {
		if _, ok := parseVersionID(id); ok {
			t.Errorf("%q is taken for a version's ID", id)
		}
	}
}

// TestAContentHashKnowsOnlyTheContent: not how it was cut, or where holes are.
func TestAContentHashKnowsOnlyTheContent(t *testing.T) {
	keys := testKeys(1)
	data := append(append(noise(1, 70_000), make([]byte, 400_000)...), noise(2, 10)...)
	whole := newContentHasher(keys)
	whole.write(data)
	want := whole.sum()
	for _, cut := range []int{1, 1000, hashBlock, hashBlock + 1, 100_000} {
		h := newContentHasher(keys)
		for at := 0; at < len(data); at += cut {
			part := data[at:min(at+cut, len(data))]
			if allZero(part) {
				h.hole(int64(len(part)))
			} else {
				h.write(part)
			}
		}
		if got := h.sum(); got != want {
			t.Errorf("cut every %d bytes it is %x, want %x", cut, got, want)
		}
	}
	others := map[contentHash]string{want: "the data"}
	for name, change := range map[string]func(*contentHasher){
		"longer":      func(h *contentHasher) { h.write(data); h.hole(1) },
		"empty":       func(*contentHasher) {},
		"zeros":       func(h *contentHasher) { h.hole(int64(len(data))) },
		"more zeros":  func(h *contentHasher) { h.hole(int64(len(data)) + 1) },
		"moved":       func(h *contentHasher) { h.hole(hashBlock); h.write(data[hashBlock:]) },
		"another bit": func(h *contentHasher) { h.write(flipped(data)) },
		"in front":    func(h *contentHasher) { h.write(data[:hashBlock]); h.hole(hashBlock) },
		"behind":      func(h *contentHasher) { h.hole(hashBlock); h.write(data[:hashBlock]) },
	} {
		h := newContentHasher(keys)
		change(h)
		sum := h.sum()
		if same, ok := others[sum]; ok {
			t.Errorf("%s hashes as %s", name, same)
		}
		others[sum] = name
	}
}

func FuzzFooter(f *testing.F) {
	f.Add(encodeFooter(someChunks()))
	f.Add([]byte{footerVersion, 0xff, 0xff, 0x03})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeFooter(data)
		if err != nil {
			return
		}
		if len(got.chunks)*35 > len(data) || len(got.offsets) != len(got.chunks)+1 {
			t.Errorf("%d chunks of %d bytes", len(got.chunks), len(data))
		}
		again, err := decodeFooter(encodeFooter(got.chunks))
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("%+v came back as %+v, %v", got, again, err)
		}
	})
}

func FuzzSegment(f *testing.F) {
	entries, packs := someEntries()
	for _, raw := range segmentsOf(f, entries, &packs) {
		f.Add(raw)
	}
	f.Add([]byte{segmentVersion, 0, 0xff, 0x07, 0, 0, 'd'})
	f.Fuzz(func(t *testing.T, data []byte) {
		var packs packTable
		got, err := decodeSegment(data, &packs)
		if err != nil {
			return
		}
		if len(got) > segmentEntries || len(packs.ids)*idSize > len(data) {
			t.Errorf("%d entries of %d packs in %d bytes", len(got), len(packs.ids), len(data))
		}
		var tree treeCheck
		all, err := tree.join(nil, got)
		if err != nil {
			return
		}
		for i := range all {
			if i > 0 && !validPath(all[i].path) {
				t.Errorf("path %q", all[i].path)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := &manifest{Format: format, Vault: "v"}
	m.Seq, m.ID = 1, versionID(1)
	m.setSegments([]segmentRef{{chunkID{1}, packID{1}, 3}})
	plain, err := m.encode()
	check(f, err)
	f.Add(plain)
	f.Add(append([]byte{pressedRaw}, `{"format":"moltworker-backup/1","vault":"v","seq":1,"id":"0000000000000001"}`...))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data, "v", 1)
		if err != nil {
			return
		}
		for i := range m.Segments {
			m.pack(i)
		}
	})
}

func FuzzUnpress(f *testing.F) {
	f.Add(press(nil, prose(1, 1000)))
	f.Add(press(nil, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if raw, err := unpress(data, 10_000); err == nil && len(raw) > 10_000 {
			t.Errorf("%d bytes", len(raw))
		}
	})
}

// FuzzStamps reads stamps that somebody else wrote.
func FuzzStamps(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		in := input{rest: data}
		for !in.bad && len(in.rest) > 0 {
			s := decodeStamp(&in)
			if !in.bad && decodeStampAgain(s) != s {
				t.Errorf("%+v does not come back", s)
			}
		}
	})
}

func decodeStampAgain(s stamp) stamp {
	in := input{rest: appendStamp(nil, &s)}
	return decodeStamp(&in)
}
