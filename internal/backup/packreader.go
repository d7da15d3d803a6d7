package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/moltworker/moltworker/internal/blob"
)

const (
	tailGuess       = 64 << 10 // bytes read at a pack's end in the hope that the footer is in them
	maxRemembered   = 1 << 20  // chunks whose place is remembered
	batchStored     = 2 << 20  // bytes read from a pack at once
	batchRaw        = 8 << 20  // bytes that come of them
	batchChunks     = 4096
	gapWorthReading = 64 << 10 // bytes between two chunks that are read rather than asked around
)

// packReader reads packs of one vault.
type packReader struct {
	store  blob.Store
	keys   keyring
	prefix string // of the packs' names

	mu         sync.Mutex
	footers    map[packID]*footer // guarded by mu
	remembered int                // chunks in footers; guarded by mu
}

func (p *packReader) name(id packID) string { return p.prefix + id.String() }

// footer returns the table of a pack. The error is ErrDamaged when the pack is not
// there or not well formed.
func (p *packReader) footer(ctx context.Context, id packID) (*footer, error) {
	p.mu.Lock()
	f := p.footers[id]
	p.mu.Unlock()
	if f != nil {
		return f, nil
	}
	f, err := p.readFooter(ctx, p.name(id))
	if err != nil {
		return nil, err
	}
	p.remember(id, f)
	return f, nil
}

func (p *packReader) remember(id packID, f *footer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.footers == nil || p.remembered+len(f.chunks) > maxRemembered {
		p.footers, p.remembered = map[packID]*footer{}, 0
	}
	if p.footers[id] == nil {
		p.footers[id] = f
		p.remembered += len(f.chunks)
	}
}

// forget makes the next look at a pack, or at all of them, a fresh one.
func (p *packReader) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.footers, p.remembered = nil, 0
}

func (p *packReader) readFooter(ctx context.Context, name string) (*footer, error) {
	info, err := p.store.Stat(ctx, name)
	if err != nil {
		return nil, absent(name, err)
	}
	if info.Size < sealOverhead+footerTail || info.Size > maxPack {
		return nil, damaged(name, fmt.Sprintf("a pack of %d bytes", info.Size))
	}
	start := max(0, info.Size-tailGuess)
	tail, err := p.store.Get(ctx, name, start, info.Size-start)
	if err != nil {
		return nil, absent(name, err)
	}
	if int64(len(tail)) != info.Size-start {
		return nil, damaged(name, "it is shorter than it says")
	}
	n := int64(binary.LittleEndian.Uint32(tail[len(tail)-footerTail:]))
	if n > maxFooter || n+footerTail > info.Size {
		return nil, damaged(name, "it has no table")
	}
	if n+footerTail > int64(len(tail)) {
		start = info.Size - n - footerTail
		if tail, err = p.store.Get(ctx, name, start, n+footerTail); err != nil {
			return nil, absent(name, err)
		}
		if int64(len(tail)) != n+footerTail {
			return nil, damaged(name, "it is shorter than it says")
		}
	}
	return openFooter(p.keys, name, tail[int64(len(tail))-footerTail-n:len(tail)-footerTail], info.Size)
}

// openFooter opens the sealed table of a pack of the given size.
func openFooter(keys keyring, name string, sealed []byte, size int64) (*footer, error) {
	plain, err := keys.seal.open(sealed, where(sealFooter, name))
	if err != nil {
		return nil, fmt.Errorf("object %s, its table: %w", name, err)
	}
	f, err := decodeFooter(plain)
	if err != nil {
		return nil, damaged(name, err.Error())
	}
	if int64(f.offsets[len(f.chunks)])+int64(len(sealed))+footerTail != size {
		return nil, damaged(name, "its size is not what its table says")
	}
	return f, nil
}

// absent says that an object which must be there is not.
func absent(name string, err error) error {
	if errors.Is(err, blob.ErrNotFound) {
		return damaged(name, "it is not there")
	}
	return err
}

// read returns what chunks of one pack hold, in the order asked for, with one
// request.
func (p *packReader) read(ctx context.Context, id packID, f *footer, ordinals []uint32) ([][]byte, error) {
	name := p.name(id)
	low, high := ordinals[0], ordinals[0]
	for _, o := range ordinals {
		low, high = min(low, o), max(high, o)
	}
	start := int64(f.offsets[low])
	data, err := p.store.Get(ctx, name, start, int64(f.offsets[high+1])-start)
	if err != nil {
		return nil, absent(name, err)
	}
	out := make([][]byte, len(ordinals))
	for i, o := range ordinals {
		from, to := int64(f.offsets[o])-start, int64(f.offsets[o+1])-start
		if to > int64(len(data)) {
			return nil, damaged(name, "it is shorter than its table says")
		}
		if out[i], err = openChunk(p.keys, name, f, int(o), data[from:to]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readAgain is read after that failed with f, for the case that the pack was
// repaired since its table was read.
func (p *packReader) readAgain(ctx context.Context, id packID, f *footer, ordinals []uint32, why error) ([][]byte, error) {
	now, err := p.readFooter(ctx, p.name(id))
	if err != nil || slices.Equal(f.chunks, now.chunks) || len(f.chunks) != len(now.chunks) {
		return nil, why
	}
	p.mu.Lock()
	if p.footers[id] == f {
		p.footers[id] = now
	}
	p.mu.Unlock()
	return p.read(ctx, id, now, ordinals)
}

// openChunk returns what a chunk holds.
func openChunk(keys keyring, name string, f *footer, ordinal int, sealed []byte) ([]byte, error) {
	info := f.chunks[ordinal]
	if isLost(info.kind) {
		return nil, damaged(name, fmt.Sprintf("chunk %d is lost", ordinal))
	}
	pressed, err := keys.seal.open(sealed, whereChunk(name, ordinal))
	if err != nil {
		return nil, fmt.Errorf("object %s, chunk %d: %w", name, ordinal, err)
	}
	raw, err := unpress(pressed, int(info.raw))
	if err != nil || len(raw) != int(info.raw) {
		return nil, damaged(name, fmt.Sprintf("chunk %d does not unpack", ordinal))
	}
	return raw, nil
}

// want is a chunk to be read.
type want struct {
	pack    packID
	ordinal uint32
}

// chunkStream gives chunks in the order in which they are wanted, and reads ahead.
type chunkStream struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	ahead  chan chan batchResult
	ready  [][]byte
}

type batchResult struct {
	raw [][]byte
	err error
}

// stream begins to read. The caller must close the stream.
func (p *packReader) stream(ctx context.Context, wants iter.Seq[want]) *chunkStream {
	s := &chunkStream{ahead: make(chan chan batchResult, parallel-1)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.done.Go(func() {
		defer close(s.ahead)
		b := batcher{p: p, s: s}
		for w := range wants {
			if err := b.add(w); err != nil {
				b.fail(err)
				return
			}
		}
		b.flush()
	})
	return s
}

// next returns the next chunk. Asking for more than was wanted is an error.
func (s *chunkStream) next() ([]byte, error) {
	for len(s.ready) == 0 {
		var result chan batchResult
		var more bool
		select {
		case result, more = <-s.ahead:
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
		if !more {
			return nil, errors.New("read beyond the last chunk")
		}
		select {
		case r := <-result:
			if r.err != nil {
				return nil, r.err
			}
			s.ready = r.raw
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
	}
	raw := s.ready[0]
	s.ready[0] = nil
	s.ready = s.ready[1:]
	return raw, nil
}

// close ends the stream; nothing of it goes on.
func (s *chunkStream) close() {
	s.cancel()
	s.done.Wait()
}

// batcher joins chunks that lie together into one request.
type batcher struct {
	p *packReader
	s *chunkStream

	pack      packID
	f         *footer
	ordinals  []uint32
	low, high uint32
	raw       int64
}

func (b *batcher) add(w want) error {
	if len(b.ordinals) > 0 && !b.fits(w) {
		b.flush()
	}
	if len(b.ordinals) == 0 {
		f, err := b.p.footer(b.s.ctx, w.pack)
		if err != nil {
			return err
		}
		b.pack, b.f, b.low, b.high, b.raw = w.pack, f, w.ordinal, w.ordinal, 0
	}
	if int(w.ordinal) >= len(b.f.chunks) {
		return damaged(b.p.name(w.pack), fmt.Sprintf("it has %d chunks, and one asks for number %d", len(b.f.chunks), w.ordinal))
	}
	b.ordinals = append(b.ordinals, w.ordinal)
	b.low, b.high = min(b.low, w.ordinal), max(b.high, w.ordinal)
	b.raw += int64(b.f.chunks[w.ordinal].raw)
	return nil
}

// fits says whether a chunk can be read along with those before.
func (b *batcher) fits(w want) bool {
	if w.pack != b.pack || len(b.ordinals) >= batchChunks || int(w.ordinal) >= len(b.f.chunks) {
		return false
	}
	low, high := min(b.low, w.ordinal), max(b.high, w.ordinal)
	gap := uint32(0)
	switch {
	case w.ordinal > b.high:
		gap = b.f.offsets[w.ordinal] - b.f.offsets[b.high+1]
	case w.ordinal < b.low:
		gap = b.f.offsets[b.low] - b.f.offsets[w.ordinal+1]
	}
	return gap <= gapWorthReading && b.f.offsets[high+1]-b.f.offsets[low] <= batchStored &&
		b.raw+int64(b.f.chunks[w.ordinal].raw) <= batchRaw
}

// flush begins to read the batch. It waits while enough are on their way.
func (b *batcher) flush() {
	if len(b.ordinals) == 0 {
		return
	}
	result := make(chan batchResult, 1)
	select {
	case b.s.ahead <- result:
	case <-b.s.ctx.Done():
		return
	}
	pack, f, ordinals := b.pack, b.f, b.ordinals
	b.ordinals = nil
	b.s.done.Go(func() {
		raw, err := b.p.read(b.s.ctx, pack, f, ordinals)
		if errors.Is(err, ErrDamaged) {
			raw, err = b.p.readAgain(b.s.ctx, pack, f, ordinals, err)
		}
		result <- batchResult{raw, err}
	})
}

// fail ends the stream with an error, after what was read before it.
func (b *batcher) fail(err error) {
	b.flush()
	result := make(chan batchResult, 1)
	result <- batchResult{nil, err}
	select {
	case b.s.ahead <- result:
	case <-b.s.ctx.Done():
	}
}

// tablesAtOnce is how many tables of packs are read at once: they are small.
const tablesAtOnce = 8

// prepare reads the tables of packs that will be asked for soon. Damage shows then.
func (p *packReader) prepare(ctx context.Context, ids iter.Seq[packID]) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tablesAtOnce)
	n := 0
	for id := range ids {
		if n++; n > maxRemembered/64 {
			break // they would push each other out
		}
		g.Go(func() error {
			if _, err := p.footer(ctx, id); err != nil && !errors.Is(err, ErrDamaged) {
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// wants lists the chunks of runs, in order.
func wants(packs *packTable, runs []run) iter.Seq[want] {
	return func(yield func(want) bool) {
		for _, r := range runs {
			if r.pack == hole {
				continue
			}
			for i := range r.n {
				if !yield(want{packs.ids[r.pack], r.first + uint32(i)}) {
					return
				}
			}
		}
	}
}
