// Package process owns the fallback driver: Linux namespaces made by bubblewrap,
// for machines where gVisor cannot run. The guest talks to the host's kernel
// itself, so it is a weaker wall, and its memory cannot be put to sleep; the
// driver's report says so.
//
// One sandbox is a directory ROOT/ID, a bubblewrap process that notes how the
// guest ended, the guest's own processes and, where the machine allows, a
// control group. All of it outlives the process that started it.
//
// The package must not know what runs inside.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
	"github.com/moltworker/moltworker/internal/sandbox/roster"
)

// Options says where a driver keeps its things.
type Options struct {
	// Root is a directory for state, absolute, made if missing. Two processes
	// must not start sandboxes under one Root at the same time.
	Root string
}

// Driver makes bubblewrap sandboxes. It implements [sandbox.Driver].
type Driver struct {
	roster   *roster.Roster[*Sandbox]
	bwrap    string
	setpriv  string // needed as root only, to become the guest's user
	rootless bool
}

var _ sandbox.Driver = (*Driver)(nil)

// New returns a driver that keeps its state under o.Root. The error wraps
// [sandbox.ErrUnavailable] when a program that it needs is missing.
func New(o Options) (*Driver, error) {
	if !filepath.IsAbs(o.Root) {
		return nil, fmt.Errorf("bubblewrap state directory %q: must be absolute", o.Root)
	}
	d := &Driver{rootless: rootfs.Rootless()}
	d.roster = roster.New(filepath.Clean(o.Root), roster.Steps[*Sandbox]{Start: d.start, Find: d.find, Alive: (*Sandbox).alive, Kill: d.kill})
	var err error
	if d.bwrap, err = exec.LookPath("bwrap"); err != nil {
		return nil, fmt.Errorf("%w: bwrap is not installed; install bubblewrap (e.g. apt-get install bubblewrap)", sandbox.ErrUnavailable)
	}
	if d.setpriv, err = exec.LookPath("setpriv"); err != nil && !d.rootless {
		return nil, fmt.Errorf("%w: setpriv is not installed; install util-linux (e.g. apt-get install util-linux)", sandbox.ErrUnavailable)
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make bubblewrap state directory: %w", err)
	}
	return d, nil
}

// Name is "process".
func (d *Driver) Name() string { return "process" }

func (d *Driver) place(id string) place { return place{dir: d.roster.Dir(id)} }

// Start makes a sandbox; see [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	return d.roster.Start(ctx, spec)
}

// Open finds a running sandbox; see [sandbox.Driver].
func (d *Driver) Open(ctx context.Context, id string) (sandbox.Sandbox, error) {
	return d.roster.Open(ctx, id)
}

// List names the running sandboxes; see [sandbox.Driver].
func (d *Driver) List(ctx context.Context) ([]string, error) { return d.roster.List(ctx) }

// find begins to follow a sandbox that was started earlier.
func (d *Driver) find(_ context.Context, id string) (s *Sandbox, found bool, err error) {
	r, err := d.place(id).record()
	if err != nil || !r.Init.alive() {
		return nil, false, nil
	}
	return d.follow(id, r), true, nil
}
