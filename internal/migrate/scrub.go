package migrate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// How a file's content is treated on its way.
type scrubbing int

const (
	known     scrubbing = iota // known secrets are replaced, others of a well-known shape told of
	thorough                   // both are replaced
	lookOnly                   // both are told of: the file cannot be changed
	untouched                  // it is not looked at
)

const window = 256 << 10

// A scrubber copies files without the secrets in them.
type scrubber struct {
	purse *purse
	buf   []byte
}

// scrubbed is what copying one file came to.
type scrubbed struct {
	size     int64
	replaced int
	shapes   []string // of those that were left, each once
	known    bool     // a known secret was left
}

// copy copies src to dst. where is the file's name, for what is found.
func (s *scrubber) copy(dst io.Writer, src io.Reader, how scrubbing, where string) (out scrubbed, err error) {
	if how == untouched {
		out.size, err = io.Copy(dst, src)
		return out, err
	}
	if s.purse.grown {
		s.purse.settle()
	}
	carry := 4096
	if len(s.purse.exact) > 0 {
		carry = max(carry, len(s.purse.exact[0]))
	}
	if s.buf == nil {
		s.buf = make([]byte, window)
	}
	have, done := 0, 0 // bytes in buf; of these, written already: context only
	for end := false; !end; {
		n, err := io.ReadFull(src, s.buf[have:])
		have += n
		end = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return out, err
		}
		if out.size == 0 && done == 0 && how != lookOnly && bytes.IndexByte(s.buf[:min(have, 8000)], 0) >= 0 {
			how = lookOnly // not a text
		}
		cut := have
		if !end {
			cut = have - carry
		}
		wrote, upTo, err := s.pass(dst, s.buf[:have], done, cut, how, where, &out)
		out.size += wrote
		if err != nil {
			return out, err
		}
		// The last byte written stays: it tells whether what follows begins a word.
		keep := max(upTo-1, 0)
		have = copy(s.buf, s.buf[keep:have])
		done = upTo - keep
	}
	return out, nil
}

// pass writes buf from done to cut, or to the end of a secret that begins before it.
func (s *scrubber) pass(dst io.Writer, buf []byte, done, cut int, how scrubbing, where string, out *scrubbed) (wrote int64, upTo int, err error) {
	at := done
	put := func(b []byte) {
		if err == nil && len(b) > 0 {
			var n int
			n, err = dst.Write(b)
			wrote += int64(n)
		}
	}
	hits := sorted(append(s.purse.hits(buf), shapeHits(buf)...))
	slices.Reverse(hits)
	for _, h := range hits {
		if h.from < at || h.from >= cut {
			continue
		}
		if !s.replaces(h, buf, how, where, out) {
			continue
		}
		put(buf[at:h.from])
		put([]byte(Placeholder))
		out.replaced++
		at = h.to
	}
	if at < cut {
		put(buf[at:cut])
		at = cut
	}
	return wrote, at, err
}

// replaces decides about a hit and keeps account of it.
func (s *scrubber) replaces(h hit, buf []byte, how scrubbing, where string, out *scrubbed) bool {
	if h.name == "" {
		out.known = out.known || how == lookOnly
		return how != lookOnly
	}
	if how == thorough && s.purse.put(h.name, string(buf[h.from:h.to]), where) {
		return true
	}
	if !slices.Contains(out.shapes, h.name) {
		out.shapes = append(out.shapes, h.name)
	}
	return false
}

// hits finds the known secrets.
func (p *purse) hits(b []byte) (hits []hit) {
	for _, form := range p.exact {
		for at := 0; ; {
			i := bytes.Index(b[at:], form)
			if i < 0 {
				break
			}
			hits = append(hits, hit{from: at + i, to: at + i + len(form)})
			at += i + len(form)
		}
	}
	return hits
}

// sorted gives hits that do not overlap, the last first: known ones and longer ones
// before others that begin at the same place.
func sorted(hits []hit) []hit {
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.order, b.order), cmp.Compare(b.to, a.to))
	})
	kept := hits[:0]
	for _, h := range hits {
		if len(kept) == 0 || h.from >= kept[len(kept)-1].to {
			kept = append(kept, h)
		}
	}
	slices.Reverse(kept)
	return kept
}

func (o scrubbed) warning(where string) string {
	switch {
	case o.known:
		return fmt.Sprintf("%s holds a secret that was found elsewhere too, and cannot be changed from outside: give the agent a new one from its service, and revoke the old", where)
	case len(o.shapes) > 0:
		return fmt.Sprintf("%s holds what looks like a secret (%s): it was left there; look at it, and renew the secret at its service if it is one", where, joinWords(o.shapes))
	}
	return ""
}
