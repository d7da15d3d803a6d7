package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// Console tells the person who started `up` what happens: sentences and progress
// on a terminal, plain lines in a file, or one JSON object a line for programs.
type Console struct {
	json bool
	tty  bool

	mu       sync.Mutex // guards the output and what follows
	w        io.Writer
	progress bool   // the last line on the terminal is progress, to be overwritten
	shown    string // last progress step printed as a plain line
}

// NewConsole returns a console on w.
func NewConsole(w io.Writer, asJSON bool) *Console {
	c := &Console{json: asJSON, w: w}
	if f, ok := w.(*os.File); ok && !asJSON {
		info, err := f.Stat()
		c.tty = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return c
}

// event is a line of --json output; unused fields are left out.
type event struct {
	Event   string          `json:"event"` // "sandbox", "note", "warning", "unused", "link", "admin", "setup", "recovery", "install", "installed", "agent"
	Time    time.Time       `json:"time"`
	Sandbox *sandbox.Report `json:"sandbox,omitempty"`
	Names   []string        `json:"names,omitempty"`
	Name    string          `json:"name,omitempty"` // of the agent
	URL     string          `json:"url,omitempty"`
	Text    string          `json:"text,omitempty"`
	Phase   runtime.Phase   `json:"phase,omitempty"`
	Done    int64           `json:"done,omitempty"`  // bytes
	Total   int64           `json:"total,omitempty"` // bytes
	Agent   *agent.Status   `json:"agent,omitempty"`
	Key     string          `json:"key,omitempty"` // the recovery key
}

// say prints an event as JSON, or else as the line of text.
func (c *Console) say(e event, line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.json {
		e.Time = time.Now()
		json.NewEncoder(c.w).Encode(e)
		return
	}
	if c.progress {
		fmt.Fprint(c.w, "\r\x1b[K")
		c.progress = false
	}
	if line != "" {
		fmt.Fprintln(c.w, line)
	}
}

// greet says what the agents will run in, and what does not work here.
func (c *Console) greet(r sandbox.Report, cfg config.Config) {
	v := Version()
	c.say(event{Event: "sandbox", Sandbox: &r},
		fmt.Sprintf("moltworker %s, OpenClaw %s in %s", v.Moltworker, v.OpenClaw, r.Summary))
	for _, check := range r.Checks {
		if !check.OK && !c.json {
			c.say(event{}, checkLine(check))
		}
	}
	for _, w := range cfg.Warnings {
		c.say(event{Event: "warning", Text: w}, "  ! "+w)
	}
	if unused := cfg.Unused(); len(unused) > 0 {
		c.say(event{Event: "unused", Names: unused},
			"  ! set, but not used by this version: "+strings.Join(unused, ", "))
	}
}

// note tells something by the way, such as what a wait is for.
func (c *Console) note(text string) { c.say(event{Event: "note", Text: text}, text) }

// PrintCheck writes one line of doctor output.
func PrintCheck(w io.Writer, c sandbox.Check) { fmt.Fprintln(w, checkLine(c)) }

func checkLine(c sandbox.Check) string {
	if c.OK {
		return fmt.Sprintf("  ✓ %s: %s", c.Name, c.Detail)
	}
	line := fmt.Sprintf("  ! %s: %s", c.Name, c.Detail)
	if c.Remedy != "" {
		line += "; " + c.Remedy
	}
	return line
}

// link prints where to go: the only place where a token is shown.
func (c *Console) link(agent, url string) {
	c.say(event{Event: "link", Name: agent, URL: url}, fmt.Sprintf("\n  Control UI of %s: %s\n", agent, url))
}

// controlPlane prints where the control plane's pages are.
func (c *Console) controlPlane(url string) {
	c.say(event{Event: "admin", URL: url}, fmt.Sprintf("  Control plane: %s\n", url))
}

// setup prints where the first person signs in: good once, and for this start.
func (c *Console) setup(url string) {
	c.say(event{Event: "setup", URL: url}, fmt.Sprintf("  Nobody can sign in yet. Do it first, once: %s\n", url))
}

// recovery prints the key to the backups that is kept nowhere: the only time that it
// is shown.
func (c *Console) recovery(key string) {
	c.say(event{Event: "recovery", Key: key}, "\n  Your backups are encrypted. This key opens them when this machine is lost; it is shown once and kept nowhere here.\n"+
		"  Keep it where you keep passwords:\n\n    "+key+"\n")
}

// installing shows the runtime's installation.
func (c *Console) installing(p runtime.Progress) {
	if c.json {
		c.say(event{Event: "install", Phase: p.Phase, Done: p.Done, Total: p.Total}, "")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	text := "OpenClaw: " + string(p.Phase)
	if p.Total > 0 {
		text += fmt.Sprintf("  %d of %d MB", p.Done/1e6, p.Total/1e6)
	}
	if c.tty {
		fmt.Fprintf(c.w, "\r\x1b[K%s", text)
		c.progress = true
		return
	}
	// In a file, a line for each fifth of each phase is enough.
	step := string(p.Phase)
	if p.Total > 0 {
		step += fmt.Sprint(p.Done * 5 / p.Total)
	}
	if step != c.shown {
		c.shown = step
		fmt.Fprintln(c.w, text)
	}
}

func (c *Console) installed(rt runtime.Runtime) {
	c.say(event{Event: "installed"}, "OpenClaw: installed, version "+rt.Version)
}

// follow prints an agent's boots and troubles until ctx ends.
func (c *Console) follow(ctx context.Context, a *agent.Agent) {
	var last agent.Status
	for s := range a.Watch(ctx) {
		if s.State == last.State && s.Reason == last.Reason || s.State == agent.StateStopped {
			continue
		}
		if installs(s) && installs(last) {
			continue // installing shows how far that is
		}
		last = s
		c.say(event{Event: "agent", Agent: &s}, agentLine(s))
	}
}

// installs says whether an agent waits for the runtime.
func installs(s agent.Status) bool {
	n := len(s.Phases)
	return n > 0 && s.Phases[n-1].Name == "runtime" && s.State == agent.StateBooting
}

func agentLine(s agent.Status) string {
	line := s.Agent + ": " + s.Reason
	if n := len(s.Phases); s.State == agent.StateAwake && n > 0 && !s.Phases[n-1].Ended.IsZero() {
		took := s.Phases[n-1].Ended.Sub(s.Phases[0].Started)
		line += fmt.Sprintf(" after %.1f s", took.Seconds())
	}
	if s.Remedy != "" {
		line += "\n  " + s.Remedy
	}
	return line
}
