package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a time that moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

var (
	ada    = Scope{Name: "ada"}
	bob    = Scope{Name: "bob"}
	answer = Answer{Status: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}}
	seal   = bytes.Repeat([]byte{7}, 32)
)

func keyFor(n int) Key { return (&Request{Custom: fmt.Sprint(n)}).Key() }

// put keeps an answer of the given pieces.
func put(t testing.TB, s *Store, key Key, scope Scope, ttl time.Duration, pieces ...string) {
	t.Helper()
	r := s.Record(key, scope, answer, ttl)
	for _, p := range pieces {
		r.Write([]byte(p))
	}
	if !r.Commit(usage.Usage{Input: 11, Output: 5, Known: true}) {
		t.Fatal("the answer was not kept")
	}
}

// pieces reads an entry to its end.
func pieces(t testing.TB, e *Entry) (all []string, after []time.Duration) {
	t.Helper()
	for {
		p, d, err := e.Next()
		if err == io.EOF {
			must(t, e.Close())
			return all, after
		}
		must(t, err)
		all, after = append(all, string(p)), append(after, d)
	}
}

func found(s *Store, key Key, now time.Time) bool {
	e, ok := s.Lookup(key, now)
	if ok {
		e.Close()
	}
	return ok
}

// onDisk closes the store and opens it again.
func onDisk(t testing.TB, s *Store) *Store {
	t.Helper()
	must(t, s.Close())
	return open(t, s.opts)
}

func TestAnswerComesBack(t *testing.T) {
	long := string(bytes.Repeat([]byte("0123456789abcdef"), 9000)) // 144,000 bytes: pieces of 65,536, 65,536, 12,928
	for _, key := range [][]byte{nil, seal} {
		t.Run(fmt.Sprintf("sealed=%v", key != nil), func(t *testing.T) {
			time0 := newClock()
			s := open(t, Options{Dir: t.TempDir(), Now: time0.Now, SealingKey: key})
			r := s.Record(keyFor(1), ada, answer, time.Hour)
			for i, p := range []string{"first", "second", "", long} {
				time0.add(time.Duration(i) * 10 * time.Millisecond)
				r.Write([]byte(p))
			}
			if !r.Commit(usage.Usage{Input: 11, CacheRead: 3, Known: true, Model: "m"}) {
				t.Fatal("not kept")
			}
			r.Discard() // of no effect now
			put(t, s, keyFor(2), ada, time.Hour)
			for _, where := range []string{"at once", "after a restart"} {
				e, ok := s.Lookup(keyFor(1), time0.Now())
				if !ok {
					t.Fatal(where, "it is gone")
				}
				if e.Status != 200 || e.Header.Get("Content-Type") != "text/event-stream" || e.Usage.CacheRead != 3 || e.Usage.Model != "m" ||
					e.TTL != time.Hour || e.Size != 144_011 {
					t.Errorf("%s: %+v", where, e)
				}
				got, after := pieces(t, e)
				want := []string{"first", "second", long[:65536], long[65536:131072], long[131072:]}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s: %d pieces", where, len(got))
				}
				// 0 ms, then 10; the empty piece adds its 20 to the 30 of the next.
				if fmt.Sprint(after) != "[0s 10ms 50ms 0s 0s]" {
					t.Errorf("%s: came after %v", where, after)
				}
				empty, ok := s.Lookup(keyFor(2), time0.Now())
				if !ok || empty.Size != 0 {
					t.Fatal(where, "the empty answer is gone")
				}
				if got, _ := pieces(t, empty); len(got) != 0 {
					t.Errorf("%s: %q", where, got)
				}
				s = onDisk(t, s)
			}
			if n := s.memory.Load(); n != 0 {
				t.Errorf("%d bytes of memory stay booked", n)
			}
		})
	}
}

func TestTimeToLive(t *testing.T) {
	time0 := newClock()
	s := open(t, Options{Dir: t.TempDir(), Now: time0.Now})
	put(t, s, keyFor(1), ada, 0, "a")               // 1 s
	put(t, s, keyFor(2), ada, 99*24*time.Hour, "b") // 31 days
	put(t, s, keyFor(3), ada, 90*time.Second, "c")  // as asked
	now := time0.Now()
	for _, c := range []struct {
		key   int
		after time.Duration
		want  bool
	}{
		{1, 999 * time.Millisecond, true}, {1, time.Second, false},
		{3, -2 * time.Minute, false}, // the clock was put back by more than a minute
	} {
		if got := found(s, keyFor(c.key), now.Add(c.after)); got != c.want {
			t.Errorf("%d after %v: %v", c.key, c.after, got)
		}
	}
	if !found(s, keyFor(2), now.Add(MaxTTL-time.Millisecond)) {
		t.Error("a month is too long")
	}
	if n := s.Expire(now.Add(MaxTTL)); n != 1 {
		t.Errorf("%d expired, want the last", n)
	}
	s = onDisk(t, s)
	if names, _ := filepath.Glob(filepath.Join(s.opts.Dir, "*"+fileSuffix)); len(names) != 0 {
		t.Errorf("left on disk: %v", names)
	}
	put(t, s, keyFor(4), ada, time.Minute, "d")
	must(t, s.Close())
	time0.add(time.Minute)
	s = open(t, s.opts)
	if st := s.Stats(); st.Entries != 0 || st.Damaged != 0 {
		t.Errorf("opened with %+v", st)
	}
}

func TestWhatIsNotKept(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), MaxEntry: 10})
	for _, status := range []int{100, 199, 206, 300, 404, 500} {
		if s.Record(keyFor(1), ada, Answer{Status: status}, time.Hour) != nil {
			t.Errorf("status %d is recorded", status)
		}
	}
	if s.Record(keyFor(1), ada, Answer{Status: 200, Header: http.Header{"X": {string(make([]byte, maxHeader))}}}, time.Hour) != nil {
		t.Error("large headers are recorded")
	}
	var none *Recorder
	if n, err := none.Write([]byte("abc")); n != 3 || err != nil || none.Commit(usage.Usage{}) {
		t.Error("a nil recorder does something")
	}
	none.Discard()

	large := s.Record(keyFor(1), ada, answer, time.Hour)
	large.Write(make([]byte, 10))
	if n, err := large.Write([]byte{1}); n != 1 || err != nil {
		t.Error("the answer is disturbed by its recorder")
	}
	if large.Commit(usage.Usage{}) {
		t.Error("too large an answer is kept")
	}
	broken := s.Record(keyFor(1), ada, answer, time.Hour)
	broken.Write([]byte("abc"))
	broken.Discard()
	if broken.Commit(usage.Usage{}) || found(s, keyFor(1), time.Now()) || s.memory.Load() != 0 {
		t.Error("a discarded answer is kept")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	s.memory.Store(maxRecording - 4)
	r := s.Record(keyFor(1), ada, answer, time.Hour)
	r.Write(make([]byte, 4))
	r.Write(make([]byte, 1))
	if r.Commit(usage.Usage{}) || s.memory.Load() != maxRecording-4 {
		t.Errorf("beyond the bound it is kept, or %d booked", s.memory.Load())
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	time0 := newClock()
	s := open(t, Options{Dir: t.TempDir(), Now: time0.Now, MaxEntries: 3})
	for i := range 3 {
		put(t, s, keyFor(i), ada, time.Hour, "x")
		s = onDisk(t, s)
		time0.add(2 * time.Minute)
		must(t, os.Chtimes(s.path(keyFor(i)), time0.Now(), time0.Now())) // the test's time, not the disk's
	}
	time0.add(2 * time.Minute)
	if !found(s, keyFor(0), time0.Now()) {
		t.Fatal("0 is gone")
	}
	s = onDisk(t, s) // the order survives: 0 was used last
	put(t, s, keyFor(3), ada, time.Hour, "x")
	for i, want := range []bool{true, false, true, true} {
		if found(s, keyFor(i), time0.Now()) != want {
			t.Errorf("%d: %v", i, !want)
		}
	}
	if st := s.Stats(); st.Evictions != 1 || st.Entries != 3 || st.Hits != 3 || st.Misses != 1 {
		t.Errorf("%+v", st)
	}
	s = onDisk(t, s)
	if names, _ := filepath.Glob(filepath.Join(s.opts.Dir, "*"+fileSuffix)); len(names) != 3 {
		t.Errorf("on disk: %v", names)
	}
}

func TestBytesAreBounded(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), MaxBytes: 10_000})
	body := string(make([]byte, 2500))
	for i := range 20 {
		put(t, s, keyFor(i), ada, time.Hour, body)
		if st := s.Stats(); st.Bytes > 10_000 {
			t.Fatalf("%+v", st)
		}
	}
	s = onDisk(t, s)
	var sum int64
	names, _ := filepath.Glob(filepath.Join(s.opts.Dir, "*"+fileSuffix))
	for _, name := range names {
		info, err := os.Stat(name)
		must(t, err)
		sum += info.Size()
	}
	// A file is 2,500 bytes and a head of some hundred: at least two fit, three may.
	if st := s.Stats(); sum != st.Bytes || len(names) < 2 || len(names) > 3 {
		t.Errorf("%d bytes in %d files; %+v", sum, len(names), st)
	}
}

func TestPurge(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	shared := Scope{Name: "ada", Shared: true}
	put(t, s, keyFor(1), ada, time.Hour, "a")
	put(t, s, keyFor(2), bob, time.Hour, "b")
	put(t, s, keyFor(3), shared, time.Hour, "c")
	s = onDisk(t, s)
	put(t, s, keyFor(4), ada, time.Hour, "d")
	late := s.Record(keyFor(5), ada, answer, time.Hour)
	if n := s.Purge(ada); n != 2 {
		t.Errorf("purged %d", n)
	}
	if late.Commit(usage.Usage{}) {
		t.Error("an answer from before the purge came after it")
	}
	s = onDisk(t, s)
	for i, want := range []bool{1: false, 2: true, 3: true, 4: false, 5: false} {
		if i > 0 && found(s, keyFor(i), time.Now()) != want {
			t.Errorf("%d: %v", i, !want)
		}
	}
}

func TestDamageIsAMiss(t *testing.T) {
	for _, key := range [][]byte{nil, seal} {
		s := open(t, Options{Dir: t.TempDir(), SealingKey: key})
		put(t, s, keyFor(1), ada, time.Hour, "some body")
		s = onDisk(t, s)
		whole, err := os.ReadFile(s.path(keyFor(1)))
		must(t, err)
		for i := range whole { // any byte of it
			bad := bytes.Clone(whole)
			bad[i] ^= 0x10
			if _, err := s.readAll(bad, keyFor(1)); err == nil {
				t.Fatalf("byte %d of %d may be changed", i, len(whole))
			}
			if _, err := s.readAll(whole[:i], keyFor(1)); err == nil {
				t.Fatalf("it may end after %d bytes", i)
			}
		}
		if _, err := s.readAll(append(bytes.Clone(whole), 0), keyFor(1)); err == nil {
			t.Error("something may follow")
		}
		if _, err := s.readAll(whole, keyFor(2)); err == nil {
			t.Error("it may be another request's")
		}
		whole[len(whole)-1] ^= 1
		must(t, os.WriteFile(s.path(keyFor(1)), whole, 0o600))
		if found(s, keyFor(1), time.Now()) {
			t.Error("a damaged answer is given")
		}
		if _, err := os.Stat(s.path(keyFor(1))); !errors.Is(err, os.ErrNotExist) {
			t.Error("it is still there")
		}
		if st := s.Stats(); st.Damaged != 1 || st.Entries != 0 || st.Bytes != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// readAll reads a file's content as Lookup does.
func (s *Store) readAll(content []byte, key Key) (body []byte, err error) {
	r, err := readHead(bytes.NewReader(content), s.sealer, key)
	if err != nil {
		return nil, err
	}
	for {
		p, err := r.next()
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
		body = append(body, p...)
	}
}

func TestOpenSweepsOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, keyFor(1), ada, time.Hour, "plain")
	must(t, s.Close())
	for _, name := range []string{fileName(keyFor(2)), "diary.txt", "." + fileName(keyFor(3)) + ".1.unfinished"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("something"), 0o600))
	}
	s = open(t, Options{Dir: dir, SealingKey: seal}) // so the plain one is foreign too
	names, err := os.ReadDir(dir)
	must(t, err)
	if len(names) != 2 || names[0].Name() != "diary.txt" || names[1].Name() != lockName {
		t.Errorf("left: %v", names)
	}
	if st := s.Stats(); st.Damaged != 2 {
		t.Errorf("%+v", st)
	}
	if _, err := Open(Options{Dir: dir}); err == nil {
		t.Error("two have it open")
	}
	if _, err := Open(Options{Dir: t.TempDir(), SealingKey: []byte("short")}); err == nil {
		t.Error("a short key seals")
	}
}

func TestFullDiskKeepsNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s := open(t, Options{Dir: dir})
	must(t, os.RemoveAll(dir)) // no file can be made there
	put(t, s, keyFor(1), ada, time.Hour, "a")
	must(t, s.Close())
	if st := s.Stats(); st.Unwritten != 1 || st.Entries != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
}

func TestSealedFilesTellNothing(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), SealingKey: seal})
	put(t, s, keyFor(1), ada, time.Hour, "a word nobody may read")
	must(t, s.Close())
	b, err := os.ReadFile(s.path(keyFor(1)))
	must(t, err)
	if bytes.Contains(b, []byte("nobody")) || bytes.Contains(b, []byte("ada")) {
		t.Error("the file tells")
	}
}

func TestManyPiecesAreJoined(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	r := s.Record(keyFor(1), ada, answer, time.Hour)
	for range maxChunks + 70_000 {
		r.Write([]byte{'x'})
	}
	r.Commit(usage.Usage{})
	s = onDisk(t, s)
	e, ok := s.Lookup(keyFor(1), time.Now())
	if !ok {
		t.Fatal("not kept")
	}
	got, _ := pieces(t, e)
	// 16,384 of one byte, of which the last took 65,535 more; the other 4,465 are one more.
	if len(got) != maxChunks+1 || len(got[maxChunks-1]) != 65_536 || len(got[maxChunks]) != 4465 {
		t.Errorf("%d pieces, the last of %d bytes", len(got), len(got[len(got)-1]))
	}
}

func FuzzReadEntry(f *testing.F) {
	s := &Store{}
	for _, body := range []string{"", "abc", string(make([]byte, maxSegment+1))} {
		var file bytes.Buffer
		t := &tape{answer: answer, body: []byte(body)}
		h := headOf(&item{tape: t, ttl: time.Hour, stored: time.UnixMilli(1)}, usage.Usage{})
		must(f, writeEntry(&file, s.sealer, Key{}, h, t.body))
		f.Add(file.Bytes())
	}
	f.Add([]byte(magicPlain))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := readHead(bytes.NewReader(content), s.sealer, Key{})
		if err != nil {
			return
		}
		size := r.head.Size
		unpackChunks(r.head.Chunks, size)
		body, err := s.readAll(content, Key{})
		if err == nil && int64(len(body)) != size {
			t.Fatalf("%d bytes, want %d", len(body), size)
		}
	})
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte{1, 0, 200, 1, 5}, int64(201))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		chunks, ok := unpackChunks(b, size)
		if !ok {
			return
		}
		again, ok := unpackChunks(packChunks(chunks), size)
		if !ok || fmt.Sprint(again) != fmt.Sprint(chunks) {
			t.Fatalf("%v became %v", chunks, again)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), MaxEntries: 5})
	f := NewFlight(3, time.Minute)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 100 {
				key := keyFor((i + n) % 7)
				want := fmt.Sprint((i + n) % 7)
				if e, ok := s.Lookup(key, time.Now()); ok {
					if got, _ := pieces(t, e); fmt.Sprint(got) != "["+want+"]" {
						t.Errorf("%v, want %s", got, want)
					}
					continue
				}
				lead, w := f.Join(key)
				switch {
				case lead != nil:
					r := s.Record(key, ada, answer, time.Hour)
					lead.Begin(r)
					r.Write([]byte(want))
					if n%3 == 0 {
						r.Discard()
					} else {
						r.Commit(usage.Usage{})
					}
					lead.Release()
				case w != nil:
					if _, ok := w.Begin(t.Context()); ok {
						if p, err := w.Next(t.Context()); err == nil && string(p) != want {
							t.Errorf("followed %q, want %s", p, want)
						}
					}
				}
				if n%20 == 0 {
					s.Purge(bob)
					s.Expire(time.Now())
				}
			}
		})
	}
	all.Wait()
	s = onDisk(t, s)
	if n := s.memory.Load(); n != 0 {
		t.Errorf("%d bytes stay booked", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir(), SealingKey: seal})
	put(b, s, keyFor(1), ada, time.Hour, string(make([]byte, 2000)), string(make([]byte, 2000)))
	s = onDisk(b, s)
	b.ReportAllocs()
	now := time.Now()
	for b.Loop() {
		if !found(s, keyFor(1), now) {
			b.Fatal("gone")
		}
	}
}

func BenchmarkRecordChunk(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir()})
	p := make([]byte, 120)
	b.ReportAllocs()
	r := s.Record(keyFor(1), ada, answer, time.Hour)
	for b.Loop() {
		if r.Write(p); r.over || r.held > 1<<20 {
			r.Discard()
			r = s.Record(keyFor(1), ada, answer, time.Hour)
		}
	}
}
