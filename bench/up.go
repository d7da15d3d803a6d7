package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/agent"
)

// up is a running `moltworker up`, built from this source tree.
type up struct {
	program, data string
	cmd           *exec.Cmd
	admin         *client.Client
	began         time.Time
	awake         chan struct{} // closed when first is set
	first         agent.Status  // the first that says awake
	took          time.Duration // from the start to first
	ended         chan struct{}
	said          bytes.Buffer // standard error; to be read when ended

	mu    sync.Mutex        // guards links
	links map[string]string // where to open agents, tokens included
}

// build makes moltworker, linked statically as releases are, once.
func (b *bench) build(ctx context.Context) (string, error) {
	if b.program != "" {
		return b.program, nil
	}
	say("building moltworker")
	path := filepath.Join(b.dir, "moltworker")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/moltworker/moltworker/cmd/moltworker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build moltworker: %w\n%s", err, said)
	}
	b.program = path
	return path, nil
}

// startUp runs it on a data directory with the sandbox named, on any free port.
func startUp(program, data, sandbox string) (*up, error) {
	return startUpWith(program, data, sandbox, "127.0.0.1:0", nil)
}

// startUpWith is startUp on an address, and with settings (NAME=value) added to
// the environment.
func startUpWith(program, data, sandbox, listen string, settings []string) (*up, error) {
	u := &up{
		program: program, data: data, admin: client.New(data), links: map[string]string{},
		awake: make(chan struct{}), ended: make(chan struct{}),
	}
	u.cmd = exec.Command(program, "up", "--json", "--demo", "--data", data, "--listen", listen, "--sandbox", sandbox)
	// What is measured here is measured without backup beside it, unless that is what
	// is measured.
	u.cmd.Env = slices.Concat(os.Environ(), []string{"MOLTWORKER_BACKUP=off"}, settings)
	u.cmd.Stderr = &u.said
	// A Ctrl-C for this program is not to reach it: a second one, from stop,
	// would make it leave its sandbox running.
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := u.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	u.began = time.Now()
	if err := u.cmd.Start(); err != nil {
		return nil, err
	}
	go u.read(out)
	return u, nil
}

func (u *up) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	seen := false
	for lines.Scan() {
		var e struct {
			Name, URL string
			Agent     *agent.Status
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		if e.URL != "" {
			u.mu.Lock()
			u.links[e.Name] = e.URL
			u.mu.Unlock()
		}
		if e.Agent != nil && e.Agent.State == agent.StateAwake && !seen {
			seen = true
			u.first, u.took = *e.Agent, time.Since(u.began)
			close(u.awake)
		}
	}
	u.cmd.Wait()
	close(u.ended)
}

// awaitAwake waits for the agent and says how long that took.
func (u *up) awaitAwake(ctx context.Context) (agent.Status, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	select {
	case <-u.awake:
		return u.first, u.took, nil
	case <-u.ended:
		return agent.Status{}, 0, fmt.Errorf("moltworker up ended: %v\n%s", u.cmd.ProcessState, u.said.Bytes())
	case <-ctx.Done():
		return agent.Status{}, 0, fmt.Errorf("wait for the agent: %w", ctx.Err())
	}
}

// info is the agent as `agent ls` shows it.
func (u *up) info(ctx context.Context) (admin.AgentInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, u.program, "agent", "ls", "--json", "--data", u.data).Output()
	if err != nil {
		return admin.AgentInfo{}, fmt.Errorf("agent ls: %w", err)
	}
	var list struct{ Agents []admin.AgentInfo }
	if err := json.Unmarshal(out, &list); err != nil || len(list.Agents) != 1 {
		return admin.AgentInfo{}, fmt.Errorf("agent ls said %q: %v", out, err)
	}
	return list.Agents[0], nil
}

// kill ends it without warning; its sandbox stays.
func (u *up) kill() {
	u.cmd.Process.Signal(syscall.SIGKILL)
	<-u.ended
}

// stop ends it in order, sandbox included. What does not end in order is killed,
// and that is an error.
func (u *up) stop() error {
	u.cmd.Process.Signal(os.Interrupt)
	select {
	case <-u.ended:
	case <-time.After(2 * time.Minute):
		u.kill()
	}
	left := sandboxProcesses(u.data)
	if len(left) == 0 {
		return nil
	}
	for _, pid := range left {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return fmt.Errorf("moltworker up left sandbox processes %v; they were killed", left)
}
