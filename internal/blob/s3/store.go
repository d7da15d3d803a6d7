package s3

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/moltworker/moltworker/internal/blob"
)

// Put is blob.Store's: one request, whatever the size.
func (s *Store) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	if err := blob.CheckPut(name, data); err != nil {
		return err
	}
	c := call{method: http.MethodPut, key: s.prefix + name, body: data, limit: maxError}
	if ifAbsent {
		c.header = map[string]string{"If-None-Match": "*"}
	}
	a, err := s.do(ctx, c)
	switch {
	case errors.Is(err, errConflict):
		err = s.settle(ctx, name, ifAbsent, err)
	case err == nil && a.header.Get("Etag") == "": // a service names what it keeps
		err = s.unreachable(errNonsense)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// settle finds out what a conflict was about: another writer, who was quicker, or
// one who was deleting. Nothing was written in either case.
func (s *Store) settle(ctx context.Context, name string, ifAbsent bool, conflict error) error {
	if !ifAbsent {
		return conflict
	}
	_, err := s.stat(ctx, name)
	switch {
	case err == nil:
		return blob.ErrExists
	case errors.Is(err, blob.ErrNotFound):
		return conflict
	}
	return err
}

// Get is blob.Store's.
func (s *Store) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := blob.CheckGet(name, off); err != nil {
		return nil, err
	}
	data, err := s.get(ctx, name, off, n)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return data, nil
}

func (s *Store) get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	c := call{method: http.MethodGet, key: s.prefix + name, limit: blob.MaxObject}
	switch {
	case n == 0: // there is no way to ask for that, except whether it is there
		_, err := s.stat(ctx, name)
		return nil, err
	case n > 0:
		last := off + min(n, blob.MaxObject+1) - 1
		if last < off {
			last = math.MaxInt64
		}
		c.header = map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", off, last)}
	case off > 0:
		c.header = map[string]string{"Range": fmt.Sprintf("bytes=%d-", off)}
	}
	a, err := s.do(ctx, c)
	if errors.Is(err, errBeyondEnd) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if a.length < 0 {
		return nil, s.unreachable(fmt.Errorf("%w: the answer does not say how long it is", errNonsense))
	}
	if a.status != http.StatusPartialContent { // all of it, asked for or not
		rest := a.body[min(off, int64(len(a.body))):]
		if n >= 0 {
			rest = rest[:min(n, int64(len(rest)))]
		}
		return rest, nil
	}
	if !isPart(a, off, n) {
		return nil, s.unreachable(fmt.Errorf("%w: another part of the object than was asked for", errNonsense))
	}
	return a.body, nil
}

// isPart says whether an answer is the part of an object that was asked for: all
// of it that there is.
func isPart(a *answer, off, n int64) bool {
	rest, ok := strings.CutPrefix(a.header.Get("Content-Range"), "bytes ")
	bounds, total, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(bounds, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	size, err3 := strconv.ParseInt(total, 10, 64)
	if !ok || !ok2 || !ok3 || errors.Join(err, err2, err3) != nil || from != off || to < from || to >= size {
		return false
	}
	want := size - off
	if n >= 0 {
		want = min(want, n)
	}
	return int64(len(a.body)) == want && to-from == want-1
}

// Stat is blob.Store's.
func (s *Store) Stat(ctx context.Context, name string) (blob.Info, error) {
	if err := blob.ValidateName(name); err != nil {
		return blob.Info{}, err
	}
	info, err := s.stat(ctx, name)
	if err != nil {
		return blob.Info{}, fmt.Errorf("stat %s: %w", name, err)
	}
	return info, nil
}

func (s *Store) stat(ctx context.Context, name string) (blob.Info, error) {
	a, err := s.do(ctx, call{method: http.MethodHead, key: s.prefix + name})
	var refused *refusalError
	if errors.As(err, &refused) && refused.mute() {
		return blob.Info{}, s.reason(ctx, name, err)
	}
	if err != nil {
		return blob.Info{}, err
	}
	modified, err := http.ParseTime(a.header.Get("Last-Modified"))
	if err != nil || a.length < 0 {
		return blob.Info{}, s.unreachable(fmt.Errorf("%w: the answer lacks the object's size or time", errNonsense))
	}
	return blob.Info{Name: name, Size: a.length, Modified: modified}, nil
}

// reason asks again for what HEAD refused, in a way whose answer says why: there
// is no bucket, or no object in it; the key is wrong, or may not.
func (s *Store) reason(ctx context.Context, name string, mute error) error {
	_, err := s.do(ctx, call{
		method: http.MethodGet, key: s.prefix + name, limit: blob.MaxObject,
		header: map[string]string{"Range": "bytes=0-0"},
	})
	if err == nil || errors.Is(err, errBeyondEnd) { // it came into being meanwhile
		return mute
	}
	return err
}

// Delete is blob.Store's.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := blob.ValidateName(name); err != nil {
		return err
	}
	_, err := s.do(ctx, call{method: http.MethodDelete, key: s.prefix + name, limit: maxError})
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}
