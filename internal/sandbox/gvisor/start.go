package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	gcgroup "gvisor.dev/gvisor/runsc/cgroup"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/cgroup"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
)

func (d *Driver) start(ctx context.Context, spec sandbox.Spec) (*Sandbox, error) {
	return d.launch(ctx, spec, "")
}

// restore starts a sandbox from the image in dir.
func (d *Driver) restore(ctx context.Context, spec sandbox.Spec, dir string) (*Sandbox, error) {
	c, err := readImage(dir)
	if err != nil {
		return nil, err
	}
	// The file systems in the image have the size that they had.
	spec.Limits.Scratch = c.Scratch
	return d.launch(ctx, spec, dir)
}

// launch starts a sandbox, anew or, when image is not empty, from there.
func (d *Driver) launch(ctx context.Context, spec sandbox.Spec, image string) (*Sandbox, error) {
	p := d.place(spec.ID)
	runsc, err := Prepare(ctx, d.notify)
	if err != nil {
		return nil, err
	}
	group, err := d.roster.Limit(ctx, spec)
	if err != nil {
		return nil, err
	}
	cgroupPath := "" // none
	if group != nil {
		cgroupPath = group.Path()
	}
	out, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the sandbox's log: %w", err)
	}
	defer out.Close()
	overlay, _ := divide(spec.Limits.Scratch)
	// The helper's own start takes as long as the files do.
	h, err := startHelper(p, out)
	if err != nil {
		return nil, err
	}
	defer h.close()
	joined := h.join(group)
	err = d.prepare(p, spec, cgroupPath, image)
	if err := errors.Join(err, <-joined); err != nil {
		return nil, err
	}
	req := startRequest{Runsc: runsc, Rootless: d.user.rootless, Cgroups: cgroupPath != "", Scratch: overlay, Restore: image != ""}
	if err := h.request(p, req); err != nil {
		return nil, err
	}
	if err := h.started(ctx); err != nil {
		return nil, p.explain(err)
	}
	return d.adopt(ctx, spec.ID, h)
}

// adopt begins to follow a sandbox that was just started.
func (d *Driver) adopt(ctx context.Context, id string, h *helper) (*Sandbox, error) {
	c, err := d.place(id).load()
	if err != nil {
		return nil, err
	}
	s := newSandbox(d, id, c)
	alive, err := s.follow(ctx)
	if err != nil || alive {
		return s, err
	}
	// PID 1 was too quick for us: only its parent, the helper, can still say how
	// it ended.
	ended, err := h.wait(ctx)
	if err != nil {
		return nil, err
	}
	s.finish(ended)
	return s, nil
}

// prepare writes the sandbox's directory. The root is written for a restore
// too: what was open in it is looked for again by name.
func (d *Driver) prepare(p place, spec sandbox.Spec, cgroupPath, image string) error {
	host, err := rootfs.Scan("/")
	if err != nil {
		return err
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return fmt.Errorf("make the sandbox's directory: %w", err)
	}
	guest := rootfs.Guest{Hostname: spec.Hostname, UID: d.user.uid, GID: d.user.gid, OwnerUID: d.user.uid, OwnerGID: d.user.gid}
	if err := host.Write(p.root(), guest, spec.Mounts); err != nil {
		return err
	}
	// gVisor mounts a tmpfs of its own, without a limit, on an empty /tmp.
	if err := os.Mkdir(filepath.Join(p.root(), "tmp/.X11-unix"), 0o755); err != nil {
		return fmt.Errorf("prepare /tmp: %w", err)
	}
	if image != "" {
		if err := p.link(image); err != nil {
			return err
		}
	}
	return writeSpec(p, ociSpec(p, spec, host, d.user, cgroupPath))
}

// explain adds the last words of the sandbox's kernel to err, if there are any.
func (p place) explain(err error) error {
	if last := p.lastPanic(); last != nil {
		return fmt.Errorf("%w; %w", err, last)
	}
	return err
}

// lastPanic is what the sandbox's kernel said when it crashed, if it did.
func (p place) lastPanic() error {
	content, err := os.ReadFile(p.panicLog())
	if err != nil || len(content) == 0 {
		return nil
	}
	line, _, _ := strings.Cut(string(content), "\n")
	return fmt.Errorf("gVisor crashed: %.300s", line)
}

// A helper is the short-lived process that calls gVisor to start one sandbox.
// Three things forbid doing it in our own: gVisor takes the standard streams of
// the calling process for the sandbox's, moves the calling process through the
// sandbox's control group (version 1), and gives the file server the calling
// process's environment, where our secrets may be.
type helper struct {
	cmd      *exec.Cmd
	requests *os.File
	replies  *os.File
}

func startHelper(p place, log *os.File) (*helper, error) {
	reqR, reqW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer reqR.Close()
	repR, repW, err := os.Pipe()
	if err != nil {
		reqW.Close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer repW.Close()

	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{starterName, "--bundle=" + p.dir}, // found by place.owns
		Env:         []string{},
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{reqR, repW},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true}, // Ctrl-C is not for it
	}
	h := &helper{cmd: cmd, requests: reqW, replies: repR}
	if err := cmd.Start(); err != nil {
		reqW.Close()
		repR.Close()
		return nil, fmt.Errorf("run ourselves again: %w", err)
	}
	return h, nil
}

// join moves the helper into the sandbox's control group, if there is one, while
// the caller does something else. On version 1 gVisor would move it there and
// back, which makes each process that is moved wait for a grace period of the
// kernel; on version 2 it does better by itself.
func (h *helper) join(g *cgroup.Group) <-chan error {
	joined := make(chan error, 1)
	if g == nil || gcgroup.IsOnlyV2() {
		joined <- nil
		return joined
	}
	go func() { joined <- g.Add(h.cmd.Process.Pid) }()
	return joined
}

// request tells the helper which sandbox to start.
func (h *helper) request(p place, req startRequest) error {
	req.Dir, req.ID = p.dir, p.id
	if err := json.NewEncoder(h.requests).Encode(req); err != nil {
		return fmt.Errorf("ask for a sandbox: %w", err)
	}
	return nil
}

// started waits until the helper has started the sandbox.
func (h *helper) started(ctx context.Context) error {
	reply, err := h.receive(ctx)
	if err != nil {
		return err
	}
	switch {
	case reply.Error == "":
		return nil
	case reply.BadImage:
		return fmt.Errorf("%w: gVisor: %s", sandbox.ErrImage, reply.Error)
	}
	return fmt.Errorf("gVisor: %s", reply.Error)
}

// wait has the helper wait for PID 1's end.
func (h *helper) wait(ctx context.Context) (sandbox.Exit, error) {
	if err := json.NewEncoder(h.requests).Encode(waitRequest{Wait: true}); err != nil {
		return sandbox.Exit{}, nil // it is gone: nobody can say
	}
	reply, err := h.receive(ctx)
	if err != nil || !reply.Ended {
		return sandbox.Exit{}, ctx.Err()
	}
	return exit(syscall.WaitStatus(reply.Status)), nil
}

// receive reads one reply. When ctx ends first the helper is killed.
func (h *helper) receive(ctx context.Context) (startReply, error) {
	stop := context.AfterFunc(ctx, func() { h.cmd.Process.Kill() })
	defer stop()
	var reply startReply
	// One reply at a time is on its way, so the decoder reads none ahead.
	if err := json.NewDecoder(h.replies).Decode(&reply); err != nil {
		if ctx.Err() != nil {
			return reply, ctx.Err()
		}
		return reply, errors.New("gVisor: the starting process died; its last words are in the sandbox's log")
	}
	return reply, nil
}

// close lets the helper go and waits for its end.
func (h *helper) close() {
	h.requests.Close()
	h.replies.Close()
	h.cmd.Wait()
}
