package cache

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

const formatVersion = 1

// head is what a file says of its answer.
type head struct {
	Format int         `json:"format"`
	Answer Answer      `json:"answer"`
	Scope  Scope       `json:"scope"`
	Stored int64       `json:"stored"` // Unix milliseconds
	TTL    int64       `json:"ttl"`    // milliseconds
	Usage  usage.Usage `json:"usage"`
	Size   int64       `json:"size"` // bytes of the body
	Chunks []byte      `json:"chunks"`
}

// headOf describes an item whose tape is complete.
func headOf(it *item, u usage.Usage) head {
	return head{Format: formatVersion, Answer: it.tape.answer, Scope: it.scope, Stored: it.stored.UnixMilli(), TTL: it.ttl.Milliseconds(),
		Usage: u, Size: int64(len(it.tape.body)), Chunks: packChunks(it.tape.chunks)}
}

// write is the goroutine that brings answers to the disk.
func (s *Store) write() {
	for it := range s.queue {
		held := int64(len(it.tape.body))
		s.writeOne(it)
		s.memory.Add(-held)
	}
}

// writeOne brings one answer to the disk. Where that fails, as when the disk is
// full, it is not kept.
func (s *Store) writeOne(it *item) {
	s.mu.Lock()
	current := s.items[it.key] == it
	s.mu.Unlock()
	if !current {
		return // purged, evicted or replaced meanwhile
	}
	name, size, err := s.writeTemporary(it)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.items[it.key] == it {
		if err = os.Rename(name, s.path(it.key)); err == nil {
			s.bytes += size - it.size
			it.size, it.head = size, head{}
			it.tape = nil
			s.makeRoom()
			return
		}
	}
	if name != "" {
		_ = os.Remove(name) // the next Open sweeps it up
	}
	if err != nil {
		s.stats.Unwritten++
		s.remove(it) // and with it what an earlier answer left under this name
	}
}

// writeTemporary writes a file under a name that is swept up should it stay. It is
// not brought to stable storage: after a crash its checksums tell what is missing.
func (s *Store) writeTemporary(it *item) (name string, size int64, err error) {
	f, err := os.CreateTemp(s.opts.Dir, "."+fileName(it.key)+".*.unfinished")
	if err != nil {
		return "", 0, err
	}
	w := bufio.NewWriterSize(f, maxSegment)
	err = writeEntry(w, s.sealer, it.key, it.head, it.tape.body)
	if err == nil {
		err = w.Flush()
	}
	if info, statErr := f.Stat(); statErr == nil {
		size = info.Size()
	}
	return f.Name(), size, errors.Join(err, f.Close())
}

// writeEntry writes a whole file.
func writeEntry(w io.Writer, s sealer, key Key, h head, body []byte) error {
	doc, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(doc) > maxHead {
		return errors.New("the head of an answer is too large")
	}
	g := segments{sealer: s, key: key}
	if err := g.begin(w); err != nil {
		return err
	}
	if err := g.write(w, doc, false); err != nil {
		return err
	}
	for { // once for an empty body too
		n := min(len(body), maxSegment)
		last := n == len(body)
		if err := g.write(w, body[:n], last); err != nil || last {
			return err
		}
		body = body[n:]
	}
}

// entryReader reads a file's body after its head.
type entryReader struct {
	g    segments
	in   io.Reader
	head head
	left int64 // bytes of the body
	done bool  // the last segment was read
}

// readHead reads the beginning of a file and checks that it makes sense.
func readHead(in io.Reader, s sealer, key Key) (*entryReader, error) {
	r := &entryReader{g: segments{sealer: s, key: key}, in: in}
	if err := r.g.open(in); err != nil {
		return nil, err
	}
	doc, err := r.g.read(in, maxHead, false)
	if err != nil || json.Unmarshal(doc, &r.head) != nil {
		return nil, errDamaged
	}
	h := &r.head
	if h.Format != formatVersion || h.Size < 0 || h.Size > MaxEntryBytes || h.Answer.Status < 200 || h.Answer.Status > 299 ||
		h.TTL < MinTTL.Milliseconds() || h.TTL > MaxTTL.Milliseconds() {
		return nil, errDamaged
	}
	r.left = h.Size
	return r, nil
}

// next returns the next segment of the body, good until the next call, and io.EOF at
// its end. The file must end there too.
func (r *entryReader) next() ([]byte, error) {
	if r.done {
		var one [1]byte
		if _, err := io.ReadFull(r.in, one[:]); err != io.EOF {
			return nil, errDamaged
		}
		return nil, io.EOF
	}
	want := int(min(r.left, maxSegment))
	p, err := r.g.read(r.in, want, int64(want) == r.left)
	if err != nil {
		return nil, err
	}
	if len(p) != want {
		return nil, errDamaged
	}
	r.left -= int64(want)
	r.done = r.left == 0
	return p, nil
}

// rebuild makes the index of what is in the directory.
func (s *Store) rebuild() error {
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return err
	}
	var found []*item
	for _, e := range entries {
		key, ours := keyOf(e.Name())
		if !ours || !e.Type().IsRegular() {
			continue
		}
		it, err := s.readItem(key)
		if err != nil || !it.fresh(s.opts.Now()) {
			if errors.Is(err, errDamaged) {
				s.stats.Damaged++
			}
			_ = os.Remove(s.path(key)) // what stays is tried again at the next Open
			continue
		}
		found = append(found, it)
	}
	slices.SortFunc(found, func(a, b *item) int { return a.touched.Compare(b.touched) })
	for _, it := range found {
		s.add(it)
	}
	return nil
}

// readItem reads what the index needs of a file.
func (s *Store) readItem(key Key) (*item, error) {
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := readHead(bufio.NewReader(f), s.sealer, key)
	if err != nil {
		return nil, err
	}
	return &item{key: key, scope: r.head.Scope, stored: time.UnixMilli(r.head.Stored), ttl: time.Duration(r.head.TTL) * time.Millisecond,
		size: info.Size(), touched: info.ModTime()}, nil
}
