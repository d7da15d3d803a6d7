// Package mem owns the object store in memory: the whole contract of package
// blob without a disk or a network, for tests and trials. It knows nothing else.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
)

// Store is an object store in memory. What it holds ends with the process.
type Store struct {
	mu      sync.RWMutex // guards objects
	objects map[string]object
}

// object is never changed, only replaced.
type object struct {
	data     []byte
	modified time.Time
}

var _ blob.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{objects: map[string]object{}} }

// Put is blob.Store's.
func (s *Store) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	if err := blob.CheckPut(name, data); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.objects[name]; taken && ifAbsent {
		return fmt.Errorf("put %s: %w", name, blob.ErrExists)
	}
	s.objects[name] = object{bytes.Clone(data), time.Now()}
	return nil
}

// Get is blob.Store's.
func (s *Store) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := blob.CheckGet(name, off); err != nil {
		return nil, err
	}
	o, err := s.object(ctx, "get", name)
	if err != nil {
		return nil, err
	}
	rest := o.data[min(off, int64(len(o.data))):]
	if n >= 0 {
		rest = rest[:min(n, int64(len(rest)))]
	}
	return bytes.Clone(rest), nil
}

// Stat is blob.Store's.
func (s *Store) Stat(ctx context.Context, name string) (blob.Info, error) {
	if err := blob.ValidateName(name); err != nil {
		return blob.Info{}, err
	}
	o, err := s.object(ctx, "stat", name)
	if err != nil {
		return blob.Info{}, err
	}
	return o.info(name), nil
}

// Delete is blob.Store's.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := blob.ValidateName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

// List is blob.Store's. It shows the store as it is when List begins.
func (s *Store) List(ctx context.Context, prefix string, f func(blob.Info) error) error {
	if err := blob.ValidatePrefix(prefix); err != nil {
		return err
	}
	for _, info := range s.below(prefix) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if err := f(info); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *Store) String() string { return "memory" }

func (s *Store) object(ctx context.Context, verb, name string) (object, error) {
	if err := ctx.Err(); err != nil {
		return object{}, fmt.Errorf("%s %s: %w", verb, name, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.objects[name]
	if !ok {
		return object{}, fmt.Errorf("%s %s: %w", verb, name, blob.ErrNotFound)
	}
	return o, nil
}

// below is what a List from now on shows.
func (s *Store) below(prefix string) []blob.Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []blob.Info
	for name, o := range s.objects {
		if strings.HasPrefix(name, prefix) {
			found = append(found, o.info(name))
		}
	}
	slices.SortFunc(found, func(a, b blob.Info) int { return strings.Compare(a.Name, b.Name) })
	return found
}

func (o object) info(name string) blob.Info {
	return blob.Info{Name: name, Size: int64(len(o.data)), Modified: o.modified}
}
