package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
)

// killTimeout bounds how long the processes of a start that failed may take to
// end.
const killTimeout = 20 * time.Second

func (d *Driver) start(ctx context.Context, spec sandbox.Spec) (s *Sandbox, err error) {
	p := d.place(spec.ID)
	if err := d.prepare(p, spec); err != nil {
		return nil, err
	}
	l, err := d.launch(p, spec)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.callOff(ctx, spec.ID))
		}
		// Not before: to PID 1 the pipe's end means go, and once it has gone it
		// can no longer be told for bubblewrap's.
		l.close()
	}()
	r, err := l.made(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := d.limit(ctx, spec, r); err != nil {
		return nil, err
	}
	if err := p.writeRecord(r); err != nil {
		return nil, err
	}
	if err := l.release(ctx, p, r, spec); err != nil {
		return nil, err
	}
	os.Remove(p.args())
	return d.follow(spec.ID, r), nil
}

// callOff ends a sandbox that is being made, whatever became of ctx.
func (d *Driver) callOff(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	return d.kill(ctx, id)
}

// prepare writes the sandbox's directory.
func (d *Driver) prepare(p place, spec sandbox.Spec) error {
	host, err := rootfs.Scan("/")
	if err != nil {
		return err
	}
	uid, gid := rootfs.GuestID, rootfs.GuestID
	if d.rootless {
		uid, gid = os.Geteuid(), os.Getegid()
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return fmt.Errorf("make the sandbox's directory: %w", err)
	}
	inside := rootfs.Guest{Hostname: spec.Hostname, UID: rootfs.GuestID, GID: rootfs.GuestID, OwnerUID: uid, OwnerGID: gid}
	if err := host.Write(p.root(), inside, spec.Mounts); err != nil {
		return err
	}
	args, err := d.arguments(p, spec, host)
	if err != nil {
		return fmt.Errorf("list the sandbox's root: %w", err)
	}
	return os.WriteFile(p.args(), []byte(strings.Join(args, "\x00")+"\x00"), 0o600)
}

// entry is how bubblewrap makes one link or directory.
func entry(full, name string, e fs.DirEntry) ([]string, error) {
	if e.Type()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(full)
		return []string{"--symlink", target, name}, err
	}
	info, err := e.Info()
	if err != nil || !info.IsDir() {
		return nil, err
	}
	mode := uint32(info.Mode().Perm())
	if info.Mode()&fs.ModeSticky != 0 {
		mode |= syscall.S_ISVTX
	}
	return []string{"--perms", fmt.Sprintf("%04o", mode), "--dir", name}, nil
}

// limit puts the sandbox into a control group where one can be made.
func (d *Driver) limit(ctx context.Context, spec sandbox.Spec, r record) error {
	g, err := d.roster.Limit(ctx, spec)
	if err != nil || g == nil {
		return err
	}
	for _, pid := range []int{r.Monitor.PID, r.Init.PID} {
		if err := g.Add(pid); err != nil {
			return err
		}
	}
	return nil
}
