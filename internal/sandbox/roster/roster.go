// Package roster owns what every driver does alike around its sandboxes: two
// calls about one ID take turns, nothing is left of a start that failed or of a
// sandbox that died, and a sandbox that this process follows already is not
// followed twice. A sandbox is a directory ROOT/ID and, where the machine
// allows, a control group.
//
// It must not know how a sandbox is made, found or killed: the driver's [Steps]
// do.
package roster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/cgroup"
)

// cleanTimeout bounds the clean-up after a failed start, which must happen even
// when the caller has given up.
const cleanTimeout = 30 * time.Second

// Steps are what drivers do each in its own way. All but Alive are called in
// the sandbox's turn.
type Steps[S sandbox.Sandbox] struct {
	// Start makes a sandbox of a valid spec; what it leaves when it fails is
	// cleaned away.
	Start func(ctx context.Context, spec sandbox.Spec) (S, error)
	// Find begins to follow a sandbox that an earlier process started.
	Find func(ctx context.Context, id string) (s S, found bool, err error)
	// Alive says whether a sandbox that Start or Find gave still runs.
	Alive func(S) bool
	// Kill ends the sandbox's processes, whatever state it is in, and removes
	// what it has outside of its directory and its control group.
	Kill func(ctx context.Context, id string) error
}

// Roster is the list of the sandboxes under one root.
type Roster[S sandbox.Sandbox] struct {
	root  string
	steps Steps[S]
	turns turns

	mu    sync.Mutex
	known map[string]S // by ID; running when last seen
}

// New returns the roster of the sandboxes under root, a directory.
func New[S sandbox.Sandbox](root string, steps Steps[S]) *Roster[S] {
	return &Roster[S]{root: root, steps: steps, known: map[string]S{}}
}

// Dir is the directory of the sandbox called id.
func (r *Roster[S]) Dir(id string) string { return filepath.Join(r.root, id) }

// Start makes a sandbox; see [sandbox.Driver].
func (r *Roster[S]) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	return r.Make(ctx, spec, r.steps.Start)
}

// Make makes a sandbox as Start does, but with make in the place of the step
// Start.
func (r *Roster[S]) Make(ctx context.Context, spec sandbox.Spec, make func(context.Context, sandbox.Spec) (S, error)) (sandbox.Sandbox, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	defer r.Turn(spec.ID)()
	switch _, err := r.open(ctx, spec.ID); {
	case err == nil:
		return nil, fmt.Errorf("sandbox %s: %w", spec.ID, sandbox.ErrExists)
	case !errors.Is(err, sandbox.ErrNotFound):
		return nil, err
	}
	s, err := make(ctx, spec)
	if err == nil {
		r.remember(s)
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	return nil, fmt.Errorf("start sandbox %s: %w", spec.ID, errors.Join(err, r.Clean(ctx, spec.ID)))
}

// Open finds a running sandbox; see [sandbox.Driver].
func (r *Roster[S]) Open(ctx context.Context, id string) (sandbox.Sandbox, error) {
	if err := sandbox.ValidateID(id); err != nil {
		return nil, err
	}
	defer r.Turn(id)()
	s, err := r.open(ctx, id)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// open finds a running sandbox or cleans away what is left of a dead one, in
// id's turn.
func (r *Roster[S]) open(ctx context.Context, id string) (S, error) {
	if s, ok := r.lookUp(id); ok && r.steps.Alive(s) {
		return s, nil
	}
	var none S
	switch s, found, err := r.steps.Find(ctx, id); {
	case err != nil:
		return none, fmt.Errorf("open sandbox %s: %w", id, err)
	case found:
		r.remember(s)
		return s, nil
	}
	if err := r.Clean(ctx, id); err != nil {
		return none, fmt.Errorf("clean up after dead sandbox %s: %w", id, err)
	}
	return none, fmt.Errorf("sandbox %s: %w", id, sandbox.ErrNotFound)
}

// List names the running sandboxes; see [sandbox.Driver].
func (r *Roster[S]) List(ctx context.Context) ([]string, error) {
	entries, err := os.ReadDir(r.root)
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if !e.IsDir() || sandbox.ValidateID(e.Name()) != nil {
			continue
		}
		switch _, err := r.Open(ctx, e.Name()); {
		case err == nil:
			ids = append(ids, e.Name())
		case !errors.Is(err, sandbox.ErrNotFound):
			return nil, err
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Turn waits for its turn with the sandbox called id and gives the function
// that ends it.
func (r *Roster[S]) Turn(id string) (end func()) { return r.turns.take(id) }

// Clean takes away all that there is of the sandbox called id, alive, dead or
// half-made. The caller has id's turn.
func (r *Roster[S]) Clean(ctx context.Context, id string) error {
	if err := r.steps.Kill(ctx, id); err != nil {
		return err
	}
	g, err := r.Group(id)
	if err == nil {
		err = g.Remove(ctx)
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(r.Dir(id)); err != nil {
		return fmt.Errorf("remove the sandbox's directory: %w", err)
	}
	r.forget(id)
	return nil
}

// Group names the control group of the sandbox called id. It need not exist.
func (r *Roster[S]) Group(id string) (*cgroup.Group, error) {
	return cgroup.Open(cgroup.Name(r.root, id))
}

// Limit makes the sandbox's control group. It gives nil where none can be made.
func (r *Roster[S]) Limit(ctx context.Context, spec sandbox.Spec) (*cgroup.Group, error) {
	if _, err := cgroup.Enforceable(); err != nil {
		return nil, nil
	}
	return cgroup.Create(ctx, cgroup.Name(r.root, spec.ID), spec.Limits)
}

func (r *Roster[S]) lookUp(id string) (S, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.known[id]
	return s, ok
}

func (r *Roster[S]) remember(s S) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[s.ID()] = s
}

func (r *Roster[S]) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, id)
}
