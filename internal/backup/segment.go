package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	segmentVersion = 1
	segmentEntries = 1024    // at most, in one segment
	segmentBytes   = 1 << 20 // a segment that reached this ends
	recordRuns     = 1 << 14 // at most, in one record; the rest is in records "more"
)

var errSegment = errors.New("it is not a well-formed list of files")

// segmentWriter writes sorted entries as segments.
type segmentWriter struct {
	keys  keyring
	packs *packTable // what the entries' runs refer to
	emit  func(raw []byte) error

	body    []byte
	records int
	local   packTable
	last    string // the path of the record before
}

// write writes all entries. The same entries give the same bytes.
func (w *segmentWriter) write(entries []entry) error {
	for i := range entries {
		if err := w.entry(&entries[i]); err != nil {
			return err
		}
	}
	return w.end()
}

func (w *segmentWriter) entry(e *entry) error {
	first := e.runs[:min(len(e.runs), recordRuns)]
	w.record(e, e.kind, first)
	for rest := e.runs[len(first):]; len(rest) > 0; {
		if w.full() {
			if err := w.end(); err != nil {
				return err
			}
		}
		part := rest[:min(len(rest), recordRuns)]
		w.record(e, recordMore, part)
		rest = rest[len(part):]
	}
	if w.full() || w.keys.cutsAfter(e.path) {
		return w.end()
	}
	return nil
}

func (w *segmentWriter) full() bool {
	return w.records >= segmentEntries || len(w.body)+len(w.local.ids)*idSize >= segmentBytes
}

// end emits the segment begun, if there is one.
func (w *segmentWriter) end() error {
	if w.records == 0 {
		return nil
	}
	out := make([]byte, 0, len(w.body)+len(w.local.ids)*idSize+16)
	out = append(out, segmentVersion)
	out = binary.AppendUvarint(out, uint64(len(w.local.ids)))
	for _, id := range w.local.ids {
		out = append(out, id[:]...)
	}
	out = binary.AppendUvarint(out, uint64(w.records))
	out = append(out, w.body...)
	w.body, w.records, w.local, w.last = w.body[:0], 0, packTable{}, ""
	return w.emit(out)
}

func (w *segmentWriter) record(e *entry, kind byte, runs []run) {
	shared := sharedPrefix(w.last, e.path)
	w.number(uint64(shared))
	w.text(e.path[shared:])
	w.last = e.path
	w.records++
	w.body = append(w.body, kind)
	switch kind {
	case recordMore:
		w.runs(runs)
		return
	case recordLink:
		w.text(e.target)
		return
	}
	w.number(uint64(e.mode))
	w.number(uint64(e.uid))
	w.number(uint64(e.gid))
	w.body = binary.AppendVarint(w.body, e.sec)
	w.number(uint64(e.nsec))
	w.number(uint64(len(e.xattrs)))
	for _, x := range e.xattrs {
		w.text(x.name)
		w.text(x.value)
	}
	switch kind {
	case recordSymlink:
		w.text(e.target)
	case recordFile:
		w.number(uint64(e.size))
		w.body = append(w.body, e.hash[:]...)
		w.runs(runs)
	}
}

func (w *segmentWriter) runs(runs []run) {
	w.number(uint64(len(runs)))
	for _, r := range runs {
		if r.pack == hole {
			w.number(0)
			w.number(uint64(r.n))
			continue
		}
		w.number(uint64(w.local.number(w.packs.ids[r.pack])) + 1)
		w.number(uint64(r.first))
		w.number(uint64(r.n))
	}
}

func (w *segmentWriter) number(v uint64) { w.body = binary.AppendUvarint(w.body, v) }

func (w *segmentWriter) text(s string) {
	w.number(uint64(len(s)))
	w.body = append(w.body, s...)
}

func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// decodeSegment reads one segment. Packs get their numbers from the table. Whether
// the entries make a tree is for a treeCheck to say.
func decodeSegment(raw []byte, packs *packTable) ([]entry, error) {
	in := input{rest: raw}
	if in.byte() != segmentVersion {
		return nil, fmt.Errorf("%w: unknown version", errSegment)
	}
	ids := in.bytes(in.count(maxRaw/idSize) * idSize)
	local := make([]uint32, 0, len(ids)/idSize)
	for ; len(ids) > 0; ids = ids[idSize:] {
		local = append(local, packs.number(packID(ids[:idSize])))
	}
	n := in.count(segmentEntries)
	entries := make([]entry, 0, min(n, len(in.rest)/4+1))
	last := ""
	for range n {
		e := decodeRecord(&in, last, local)
		if in.bad {
			return nil, errSegment
		}
		last = e.path
		entries = append(entries, e)
	}
	if in.bad || len(in.rest) > 0 || n == 0 {
		return nil, errSegment
	}
	return entries, nil
}

func decodeRecord(in *input, last string, local []uint32) (e entry) {
	shared := in.count(len(last))
	e.path = last[:shared] + in.text(maxPath)
	e.kind = in.byte()
	switch e.kind {
	case recordMore:
		e.runs = decodeRuns(in, local)
		return e
	case recordLink:
		e.target = in.text(maxPath)
		return e
	case recordDir, recordFile, recordSymlink:
	default:
		in.bad = true
	}
	e.mode = uint32(in.count(0o7777))
	e.uid = uint32(in.count(1<<32 - 1))
	e.gid = uint32(in.count(1<<32 - 1))
	e.sec = in.varint()
	e.nsec = uint32(in.count(999_999_999))
	for range in.count(maxXattr) {
		e.xattrs = append(e.xattrs, xattr{in.text(maxXattrs), in.text(maxXattrs)})
	}
	switch e.kind {
	case recordSymlink:
		e.target = in.text(maxTarget)
	case recordFile:
		e.size = int64(in.count(1<<62 - 1))
		copy(e.hash[:], in.bytes(idSize))
		e.runs = decodeRuns(in, local)
	}
	return e
}

func decodeRuns(in *input, local []uint32) []run {
	n := in.count(recordRuns)
	runs := make([]run, 0, min(n, len(in.rest)/2))
	for range n {
		which := in.count(len(local))
		r := run{pack: hole}
		if which > 0 {
			r.pack = local[which-1]
			r.first = uint32(in.count(maxPackChunks))
		}
		r.n = int64(in.count(1<<62 - 1))
		if r.n == 0 || r.pack != hole && int64(r.first)+r.n > maxPackChunks {
			in.bad = true
		}
		if in.bad {
			return nil
		}
		runs = append(runs, r)
	}
	return runs
}

// treeCheck makes sure that entries, given in order, are a tree that can be put back
// beneath a directory: sorted, each in a directory that came before.
type treeCheck struct {
	n    int
	last string
	dirs map[string]bool
}

// join appends the entries of a segment to those before, the content of records
// "more" to their file.
func (t *treeCheck) join(all, next []entry) ([]entry, error) {
	if t.dirs == nil {
		t.dirs = map[string]bool{}
	}
	for i := range next {
		e := &next[i]
		if e.kind == recordMore {
			if len(all) == 0 || all[len(all)-1].kind != recordFile || all[len(all)-1].path != e.path {
				return nil, errSegment
			}
			f := &all[len(all)-1]
			f.runs = append(f.runs, e.runs...)
			continue
		}
		if err := t.check(e); err != nil {
			return nil, err
		}
		all = append(all, *e)
	}
	return all, nil
}

func (t *treeCheck) check(e *entry) error {
	t.n++
	switch {
	case t.n > maxEntries:
		return fmt.Errorf("%w: it is too long", errSegment)
	case t.n == 1:
		if e.path != "" || e.kind != recordDir {
			return fmt.Errorf("%w: it does not begin with the root", errSegment)
		}
	case !validPath(e.path) || e.path <= t.last || !t.dirs[parent(e.path)]:
		return fmt.Errorf("%w: path %q is out of place", errSegment, e.path)
	case e.kind == recordLink && (!validPath(e.target) || e.target >= e.path):
		return fmt.Errorf("%w: link %q is not to an earlier file", errSegment, e.path)
	case e.kind == recordSymlink && (e.target == "" || strings.IndexByte(e.target, 0) >= 0):
		return fmt.Errorf("%w: link %q leads nowhere", errSegment, e.path)
	}
	t.last = e.path
	if e.kind == recordDir {
		t.dirs[e.path] = true
	}
	return nil
}
