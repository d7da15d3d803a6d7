package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/remedy"
)

// probeCleanup bounds how long Check tries to remove its probe, in case ctx has ended.
const probeCleanup = 10 * time.Second

// Check finds out whether a store can be used: it writes, reads, lists and
// deletes a small object of a random name, and tries to write it a second time
// with ifAbsent, which a store must refuse. The error is one sentence about what
// cannot be done, with a remedy. Call it where storage is set up.
func Check(ctx context.Context, s Store) error {
	p := probe{s: s, name: "probe-" + random(), data: []byte("moltworker was here: " + random())}
	defer p.remove(ctx)
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"write to", p.write},
		{"read from", p.read},
		{"write without overwriting to", p.contend},
		{"list", p.list},
		{"delete from", p.delete},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("cannot %s %s: %w", step.what, s, err)
		}
	}
	return nil
}

// probe is the object that a store is tried with.
type probe struct {
	s    Store
	name string
	data []byte
}

func (p *probe) write(ctx context.Context) error { return p.s.Put(ctx, p.name, p.data, true) }

func (p *probe) read(ctx context.Context) error {
	whole, err := p.s.Get(ctx, p.name, 0, -1)
	if err != nil {
		return p.unseen(err)
	}
	part, err := p.s.Get(ctx, p.name, 11, 3)
	if err != nil {
		return p.unseen(err)
	}
	info, err := p.s.Stat(ctx, p.name)
	if err != nil {
		return p.unseen(err)
	}
	if !bytes.Equal(whole, p.data) || !bytes.Equal(part, p.data[11:14]) || info.Size != int64(len(p.data)) {
		return untrue("it returned other bytes than were written")
	}
	return nil
}

// contend makes sure that two hosts cannot overwrite each other's versions.
func (p *probe) contend(ctx context.Context) error {
	err := p.s.Put(ctx, p.name, []byte("a second one"), true)
	switch {
	case errors.Is(err, ErrExists):
		return nil
	case err != nil:
		return err
	}
	return untrue("it ignores the condition that the object must not exist (If-None-Match), so two hosts could overwrite each other's backups")
}

func (p *probe) list(ctx context.Context) error {
	seen := false
	err := p.s.List(ctx, p.name, func(info Info) error {
		seen = seen || info.Name == p.name && info.Size == int64(len(p.data))
		return nil
	})
	if err == nil && !seen {
		return untrue("it does not list an object that was just written")
	}
	return err
}

func (p *probe) delete(ctx context.Context) error {
	if err := p.s.Delete(ctx, p.name); err != nil {
		return err
	}
	_, err := p.s.Stat(ctx, p.name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return untrue("the object is still there after it was deleted")
}

// unseen explains that what was written is not there.
func (p *probe) unseen(err error) error {
	if errors.Is(err, ErrNotFound) {
		return untrue("an object that was just written is not there")
	}
	return err
}

// remove leaves nothing behind when a step failed. Its own error would only
// repeat that one's.
func (p *probe) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
	defer cancel()
	_ = p.s.Delete(ctx, p.name)
}

// untrue is about a store that does not keep the contract.
func untrue(why string) error {
	return remedy.With(fmt.Errorf("%w: %s", ErrDenied, why),
		"use a store that is strongly consistent and knows conditional writes, such as Cloudflare R2, Amazon S3 or a local directory")
}

func random() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
