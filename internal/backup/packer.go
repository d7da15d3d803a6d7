package backup

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/moltworker/moltworker/internal/blob"
)

const (
	packTarget  = 8 << 20 // bytes; a pack that reached this is full
	packChunks  = 1 << 14 // chunks; the same
	packsFlying = 3       // packs being uploaded at once
)

// place is where a chunk is: its pack's number and its ordinal there.
type place struct{ pack, ordinal uint32 }

// packer puts chunks that the store does not have into packs, and those into the
// store. One goroutine uses it.
type packer struct {
	store  blob.Store
	keys   keyring
	prefix string
	packs  *packTable        // gets the numbers of new packs
	known  map[chunkID]place // what need not be stored
	avoid  map[uint32]bool   // packs, by number, in which it is to be stored anew all the same
	added  map[chunkID]place // what was stored now

	flying *errgroup.Group
	ctx    context.Context // ends when an upload failed

	id      packID
	number  uint32
	pressed []byte // lent to add
	body    []byte
	chunks  []chunkInfo
	written []writtenPack
	stored  int64
}

// writtenPack is a pack that was made now.
type writtenPack struct {
	id     packID
	footer []byte // as encodeFooter made it
	size   int64  // of the object
}

func newPacker(ctx context.Context, store blob.Store, keys keyring, prefix string, packs *packTable, known map[chunkID]place) *packer {
	p := &packer{store: store, keys: keys, prefix: prefix, packs: packs, known: known, added: map[chunkID]place{}}
	p.flying, p.ctx = errgroup.WithContext(ctx)
	p.flying.SetLimit(packsFlying)
	return p
}

// add makes sure that the store will have a chunk, and returns where. It does not
// keep raw.
func (p *packer) add(kind byte, raw []byte) (place, chunkID, error) {
	id := p.keys.chunkID(kind, raw)
	if at, ok := p.known[id]; ok && !p.avoid[at.pack] {
		return at, id, nil
	}
	if at, ok := p.added[id]; ok {
		return at, id, nil
	}
	if len(p.chunks) == 0 {
		rand.Read(p.id[:]) // never fails
		p.number = p.packs.number(p.id)
		p.body = nil
	}
	ordinal := len(p.chunks)
	before := len(p.body)
	p.pressed = press(p.pressed[:0], raw)
	p.body = p.keys.seal.seal(p.body, p.pressed, whereChunk(p.name(), ordinal))
	p.chunks = append(p.chunks, chunkInfo{id, uint32(len(p.body) - before), uint32(len(raw)), kind})
	at := place{p.number, uint32(ordinal)}
	p.added[id] = at
	if len(p.body) >= packTarget || len(p.chunks) >= packChunks {
		return at, id, p.flush()
	}
	return at, id, nil
}

func (p *packer) name() string { return p.prefix + p.id.String() }

// pending says whether there is anything that finish would upload.
func (p *packer) pending() bool { return len(p.chunks) > 0 || len(p.written) > 0 }

// flush uploads the pack begun. It waits while enough are on their way.
func (p *packer) flush() error {
	if len(p.chunks) == 0 {
		return nil
	}
	if err := p.ctx.Err(); err != nil {
		return p.finish()
	}
	name, table := p.name(), encodeFooter(p.chunks)
	object := sealPack(p.keys, name, p.body, table)
	p.written = append(p.written, writtenPack{p.id, table, int64(len(object))})
	p.stored += int64(len(object))
	p.body, p.chunks = nil, nil
	p.flying.Go(func() error {
		if err := p.store.Put(p.ctx, name, object, false); err != nil {
			return fmt.Errorf("store pack: %w", err)
		}
		return nil
	})
	return nil
}

// sealPack appends the sealed footer and its length.
func sealPack(keys keyring, name string, body, table []byte) []byte {
	n := len(body)
	body = keys.seal.seal(body, table, where(sealFooter, name))
	return binary.LittleEndian.AppendUint32(body, uint32(len(body)-n))
}

// finish returns when all is in the store, or some of it could not be put there.
// The packer cannot be used afterwards.
func (p *packer) finish() error {
	var err error
	if p.ctx.Err() == nil {
		err = p.flush()
	}
	if failed := p.flying.Wait(); failed != nil {
		return failed
	}
	return err
}
