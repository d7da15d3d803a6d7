package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/page"
)

// agentsView is what pages with agents show.
type agentsView struct {
	Agents     []agentView
	Counts     []count // by state, those there are
	Version    admin.Version
	SleepAfter time.Duration
	From       string // which page it is on
}

// count is how many agents are in a state.
type count struct {
	State agent.State
	N     int
}

// agentView is one agent as it is shown.
type agentView struct {
	admin.AgentInfo
	Tone     string // class of its state
	Busy     bool   // it gets to the next state by itself
	CanWake  bool
	CanSleep bool
	Steps    []step
	Line     *timeline
	From     string
	Backup   *backupLine // nil where it is not shown
}

// backupLine is how an agent's backup is, in short.
type backupLine struct {
	Tone, State, Words, Drill string
	DrillBad                  bool
}

// step is a phase of a boot, a sleep or a wake.
type step struct {
	Label, State string // State: "done", "active" or "stopped"
	Took         time.Duration
	Millis       int64 // of an active one, for the page's clock
}

func (s *site) overview(w http.ResponseWriter, r *http.Request) error {
	return s.agentsPage(w, r, "overview", "Overview")
}

func (s *site) agents(w http.ResponseWriter, r *http.Request) error {
	return s.agentsPage(w, r, "agents", "Agents")
}

func (s *site) gateway(w http.ResponseWriter, r *http.Request) error {
	return s.agentsPage(w, r, "gateway", "Gateway")
}

func (s *site) agentsPage(w http.ResponseWriter, r *http.Request, area, title string) error {
	v, err := s.viewAgents(r.Context(), area)
	if err != nil {
		return err
	}
	s.pages.Write(w, r, http.StatusOK, area+".html", page.View{Title: title, Area: area, Data: v})
	return nil
}

func (s *site) overviewPart(w http.ResponseWriter, r *http.Request) error {
	return s.agentsPart(w, r, "overview", "overview-part")
}

func (s *site) rosterPart(w http.ResponseWriter, r *http.Request) error {
	return s.agentsPart(w, r, "agents", "roster-part")
}

func (s *site) gatewayPart(w http.ResponseWriter, r *http.Request) error {
	return s.agentsPart(w, r, "gateway", "gateway-part")
}

func (s *site) agentsPart(w http.ResponseWriter, r *http.Request, from, part string) error {
	v, err := s.viewAgents(r.Context(), from)
	if err != nil {
		return err
	}
	s.pages.Part(w, r, part, v)
	return nil
}

func (s *site) viewAgents(ctx context.Context, from string) (*agentsView, error) {
	infos, err := s.plane.Agents(ctx)
	if err != nil {
		return nil, err
	}
	v := &agentsView{Version: s.Version, SleepAfter: s.SleepAfter, From: from}
	if from == "overview" {
		defer func() { s.addBackups(ctx, v) }()
	}
	tally := map[agent.State]int{}
	for _, info := range infos {
		v.Agents = append(v.Agents, viewAgent(info, from, s.Now()))
		tally[info.State]++
	}
	for _, state := range states {
		if n := tally[state]; n > 0 {
			v.Counts = append(v.Counts, count{state, n})
		}
	}
	return v, nil
}

// addBackups says of each agent how its backup is, to callers who may know.
func (s *site) addBackups(ctx context.Context, v *agentsView) {
	o, err := s.plane.Backup(ctx)
	if err != nil {
		return
	}
	for i := range v.Agents {
		line := &backupLine{Tone: backupTone(o.State), State: o.State, Words: o.Sentence()}
		for _, a := range o.Agents {
			if a.Agent != v.Agents[i].Agent || o.State == admin.BackupOff || o.State == admin.BackupLocked {
				continue
			}
			line = &backupLine{Tone: safeTone(a.State), State: string(a.State), Words: safeWords(a, s.Now()),
				Drill: drillWords(a.Drill, s.Now()), DrillBad: a.Drill != nil && !a.Drill.OK}
		}
		v.Agents[i].Backup = line
	}
}

// states in the order in which they are counted.
var states = []agent.State{agent.StateAwake, agent.StateBooting, agent.StateWaking, agent.StateSuspending,
	agent.StateAsleep, agent.StateStopped, agent.StateFailed}

func viewAgent(info admin.AgentInfo, from string, now time.Time) agentView {
	v := agentView{AgentInfo: info, Tone: tone(info.State), From: from, Line: drawn(info.Status, now)}
	switch info.State {
	case agent.StateBooting, agent.StateWaking, agent.StateSuspending:
		v.Busy = true
	case agent.StateAwake:
		v.CanSleep = true
	case agent.StateAsleep, agent.StateStopped:
		v.CanWake = true
	}
	if !v.Busy && info.State != agent.StateFailed {
		return v
	}
	for _, p := range info.Phases {
		v.Steps = append(v.Steps, viewStep(p, v.Busy, now))
	}
	return v
}

func viewStep(p agent.Phase, busy bool, now time.Time) step {
	s, end := step{Label: p.Label, State: "done"}, p.Ended
	if s.Label == "" {
		s.Label = p.Name
	}
	if end.IsZero() {
		end, s.State = now, "stopped"
		if busy {
			s.State = "active"
		}
	}
	s.Took = max(end.Sub(p.Started), 0)
	s.Millis = s.Took.Milliseconds()
	return s
}

// tone is how a state is coloured.
func tone(state agent.State) string {
	switch state {
	case agent.StateAwake:
		return "good"
	case agent.StateAsleep, agent.StateSuspending:
		return "calm"
	case agent.StateBooting, agent.StateWaking:
		return "warn"
	case agent.StateFailed:
		return "bad"
	}
	return ""
}

func (s *site) create(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimSpace(r.PostFormValue("name"))
	err := s.act(r, func(ctx context.Context) error {
		_, err := s.plane.Create(ctx, name)
		return err
	})
	return back(w, r, "/_admin/agents", err, "Agent %s is made.", name)
}

func (s *site) restart(w http.ResponseWriter, r *http.Request) error {
	return s.steer(w, r, s.plane.Restart, "The gateway of %s is restarting.")
}

func (s *site) sleep(w http.ResponseWriter, r *http.Request) error {
	return s.steer(w, r, s.plane.Sleep, "%s sleeps.")
}

func (s *site) wake(w http.ResponseWriter, r *http.Request) error {
	return s.steer(w, r, s.plane.Wake, "%s is awake.")
}

func (s *site) steer(w http.ResponseWriter, r *http.Request, do func(context.Context, string) (agent.Status, error), done string) error {
	name := r.PathValue("agent")
	err := s.act(r, func(ctx context.Context) error {
		_, err := do(ctx, name)
		return err
	})
	return back(w, r, origin(r), err, done, name)
}

// remove wants the name typed again: what a slip of the finger would do cannot be
// undone by another.
func (s *site) remove(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("agent")
	if typed := strings.TrimSpace(r.PostFormValue("confirm")); typed != name {
		return back(w, r, "/_admin/agents", &admin.Error{Status: http.StatusBadRequest, Kind: "invalid",
			Message: fmt.Sprintf("Agent %s was not removed: its name has to be typed to confirm.", name)}, "")
	}
	var removed admin.Removed
	err := s.act(r, func(ctx context.Context) (err error) {
		removed, err = s.plane.Remove(ctx, name)
		return err
	})
	if err != nil {
		return back(w, r, "/_admin/agents", err, "")
	}
	return back(w, r, "/_admin/agents", nil, "Agent %s is removed. What it had is kept in %s.", name, removed.Kept)
}
