package gvisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/specutils"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisorlog"
)

// What a helper is told on descriptor 3 and answers on descriptor 4.
type (
	startRequest struct {
		Dir, ID           string
		Runsc             string // what to run as gVisor
		Rootless, Cgroups bool
		Scratch           int64
		Restore           bool // from place.image
	}
	waitRequest struct{ Wait bool }
	startReply  struct {
		Error    string
		BadImage bool // the image is what Error is about
		Ended    bool
		Status   uint32 // as wait(2) gives it
	}
)

// runStarter is the helper's whole life: start one sandbox, whose standard
// output is this process's own, and stay its parent until our own parent
// follows it or asks how it ended.
func runStarter() {
	gvisorlog.Discard()
	requests, replies := os.NewFile(3, "requests"), os.NewFile(4, "replies")
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	in, out := json.NewDecoder(requests), json.NewEncoder(replies)

	var req startRequest
	if err := in.Decode(&req); err != nil {
		return
	}
	c, err := startContainer(req)
	if err != nil {
		out.Encode(startReply{Error: firstLine(err), BadImage: errors.Is(err, sandbox.ErrImage)})
		return
	}
	out.Encode(startReply{})

	var next waitRequest
	if in.Decode(&next) != nil || !next.Wait {
		return
	}
	ws, err := c.Wait()
	out.Encode(startReply{Ended: err == nil, Status: uint32(ws)})
}

func startContainer(req startRequest) (*container.Container, error) {
	p := place{dir: req.Dir, id: req.ID}
	conf, err := settings(p, req.Rootless, req.Cgroups, req.Scratch)
	if err != nil {
		return nil, err
	}
	spec, err := specutils.ReadSpec(p.dir, conf)
	if err != nil {
		return nil, err
	}
	specutils.ExePath = req.Runsc
	setKillable(os.Getpid(), guestKillable)
	// Attached stays false: the sandbox is to outlive this process.
	c, err := container.New(conf, container.Args{ID: containerID, Spec: spec, BundleDir: p.dir})
	if err != nil {
		return nil, err
	}
	if req.Restore {
		err = restoreContainer(c, conf, p)
	} else if err = c.Start(conf); err != nil {
		err = fmt.Errorf("start PID 1: %w", err)
	}
	if err != nil {
		c.Destroy()
		return nil, err
	}
	setKillable(c.Sandbox.Getpid(), 0)
	setKillable(c.GoferPid.Load(), 0)
	return c, nil
}

// restoreContainer brings the image in p.image back to life. Once gVisor has
// been found able to make a sandbox here, whatever it has against the image is
// the image's fault. Pages are still being read when this returns, those first
// that somebody inside waits for, from files that are open and may be removed.
func restoreContainer(c *container.Container, conf *config.Config, p place) error {
	const direct, background = false, true
	if err := c.Restore(conf, p.image(), direct, background, nil); err != nil {
		return badImage{err}
	}
	return os.RemoveAll(p.image())
}

// badImage marks an error as the image's fault.
type badImage struct{ error }

func (badImage) Is(target error) bool { return target == sandbox.ErrImage }

// firstLine leaves out the stack traces and specifications that gVisor tells.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Sprintf("%.500s", line)
}

// guestKillable is the oom_score_adj of a guest's processes: before any other of
// the host's.
const guestKillable = 900

// setKillable says how readily the kernel kills pid when memory runs out. Each
// guest process has a stand-in on the host, which inherits the score of the
// process that starts the sandbox. The sandbox's kernel and file server, which
// do too, are then set back: the guest's hog should die, not its machine. It is
// not an error when this is not allowed.
func setKillable(pid, score int) {
	os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(score)), 0)
}
