// Package gvisor owns the default sandbox driver: gVisor, built into this
// binary. There is no daemon and no other program. The binary runs itself again
// for gVisor's own processes, so every main function and TestMain that imports
// this package begins with [Dispatch].
//
// One sandbox is a directory ROOT/ID, two processes of the host (the sandbox's
// kernel and its file server) and, where the machine allows, a control group.
// All of it outlives the process that started it.
//
// The package must not know what runs inside.
package gvisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisorlog"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
	"github.com/moltworker/moltworker/internal/sandbox/roster"
)

// Options says where a driver keeps its things.
type Options struct {
	// Root is a directory for state, absolute, made if missing. Two processes
	// must not start sandboxes under one Root at the same time.
	Root string
	// Notify, if set, is told before something that takes minutes.
	Notify func(message string)
}

// Driver makes gVisor sandboxes. It implements [sandbox.Imager].
type Driver struct {
	roster *roster.Roster[*Sandbox]
	user   user
	notify func(string)
}

var _ sandbox.Imager = (*Driver)(nil)

// New returns a driver that keeps its state under o.Root. The error wraps
// [sandbox.ErrUnavailable] when gVisor cannot be used here at all; see
// [EnterUserNamespace] for programs that do not run as root.
func New(o Options) (*Driver, error) {
	if !filepath.IsAbs(o.Root) {
		return nil, fmt.Errorf("gVisor state directory %q: must be absolute", o.Root)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: gVisor needs root or a user namespace of its own; run moltworker as root or allow user namespaces", sandbox.ErrUnavailable)
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make gVisor state directory: %w", err)
	}
	gvisorlog.Discard()
	d := &Driver{user: guestUser(), notify: o.Notify}
	d.roster = roster.New(filepath.Clean(o.Root), roster.Steps[*Sandbox]{Start: d.start, Find: d.find, Alive: (*Sandbox).alive, Kill: d.kill})
	return d, nil
}

// Name is "gvisor".
func (d *Driver) Name() string { return "gvisor" }

// place is where the sandbox called id is kept.
func (d *Driver) place(id string) place { return place{dir: d.roster.Dir(id), id: id} }

// Start makes a sandbox; see [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	return d.roster.Start(ctx, spec)
}

// Restore starts a sandbox from an image; see [sandbox.Imager].
func (d *Driver) Restore(ctx context.Context, spec sandbox.Spec, dir string) (sandbox.Sandbox, error) {
	return d.roster.Make(ctx, spec, func(ctx context.Context, spec sandbox.Spec) (*Sandbox, error) {
		return d.restore(ctx, spec, dir)
	})
}

// Open finds a running sandbox; see [sandbox.Driver].
func (d *Driver) Open(ctx context.Context, id string) (sandbox.Sandbox, error) {
	return d.roster.Open(ctx, id)
}

// List names the running sandboxes; see [sandbox.Driver].
func (d *Driver) List(ctx context.Context) ([]string, error) { return d.roster.List(ctx) }

// find begins to follow a sandbox that was started earlier.
func (d *Driver) find(ctx context.Context, id string) (s *Sandbox, found bool, err error) {
	p := d.place(id)
	c, err := p.load()
	if err != nil || p.halfHalted() {
		return nil, false, nil
	}
	s = newSandbox(d, id, c)
	found, err = s.follow(ctx)
	return s, found, err
}

// exit turns a wait status into the contract's words.
func exit(ws syscall.WaitStatus) sandbox.Exit {
	if ws.Signaled() {
		return sandbox.Exit{Known: true, Signal: ws.Signal()}
	}
	return sandbox.Exit{Known: true, Code: ws.ExitStatus()}
}

// user is who the guest is to be. Without root the guest is this process's own
// user, the only one there is in its namespace, without any capability.
type user struct {
	rootless bool
	uid, gid int
}

func guestUser() user {
	if rootfs.Rootless() {
		return user{rootless: true}
	}
	return user{uid: rootfs.GuestID, gid: rootfs.GuestID}
}
