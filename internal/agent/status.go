package agent

import (
	"fmt"
	"time"
)

// State is where an agent is in its life, as people are told. See life.go for
// the ways between states.
type State string

// The states of an agent.
const (
	StateStopped    State = "stopped"    // not wanted
	StateBooting    State = "booting"    // sandbox or gateway on its way up
	StateAwake      State = "awake"      // the gateway answers
	StateSuspending State = "suspending" // on its way to sleep; who needs it waits
	StateAsleep     State = "asleep"     // nothing of it runs; it wakes when somebody needs it
	StateWaking     State = "waking"     // its image is being brought back to life
	StateFailed     State = "failed"     // needs a person; Status.Error and Remedy say what
)

// Status is one consistent picture of an agent. It is a value: readers may keep
// it.
type Status struct {
	Agent    string    `json:"agent"`
	State    State     `json:"state"`
	Reason   string    `json:"reason"` // one line for people: "awake: a message since 12 s"
	Since    time.Time `json:"since"`  // of State
	Phases   []Phase   `json:"phases"` // of the current or last boot, sleep or wake, in order
	Error    string    `json:"error,omitempty"`
	Remedy   string    `json:"remedy,omitempty"`
	Attempt  int       `json:"attempt,omitempty"` // of this boot, from 1
	Restarts int       `json:"restarts"`          // unasked ends of the gateway since the sandbox started
	Driver   string    `json:"driver"`
	Runtime  string    `json:"runtime"` // OpenClaw version

	Uses     []Use      `json:"uses,omitempty"`      // what keeps it awake now
	SleepsAt time.Time  `json:"sleeps_at,omitzero"`  // when it will, if nobody uses it until then
	Note     string     `json:"note,omitempty"`      // why it could not sleep, or its image was of no use
	Next     *Due       `json:"next_cron,omitempty"` // asleep: what it will be woken for
	Image    *ImageInfo `json:"image,omitempty"`     // asleep: what it sleeps as; without one it boots
	History  []Past     `json:"history,omitempty"`   // the states before this one, oldest first
}

// Phase is one step of a boot, a sleep or a wake.
type Phase struct {
	Name    string    `json:"name"` // "sandbox", "guest", "config", "gateway", "ready"
	Label   string    `json:"label"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
}

// Past is a state that an agent was in.
type Past struct {
	State  State         `json:"state"`
	Since  time.Time     `json:"since"`
	Took   time.Duration `json:"took_ns"`
	Reason string        `json:"reason"` // the last one in that state
}

// Due is something of the agent's own that is to happen at a time.
type Due struct {
	At   time.Time `json:"at"`
	Name string    `json:"name"`
}

// ImageInfo is an image on disk.
type ImageInfo struct {
	Bytes      int64     `json:"bytes"` // on disk
	Made       time.Time `json:"made"`
	Compressed bool      `json:"compressed"`
	Sealed     bool      `json:"sealed"` // encrypted
}

// describe puts what changes by itself with time into a status: who uses the
// agent, and when it will sleep.
func (a *Agent) describe(s Status) Status {
	switch s.State {
	case StateAwake:
		var last time.Time
		s.Uses, last = a.activity.shown()
		if len(s.Uses) > 0 {
			s.Reason = fmt.Sprintf("awake: %s since %s", s.Uses[0].What, ago(a.opts.Now().Sub(s.Uses[0].Since)))
		} else if a.opts.SleepAfter > 0 {
			s.SleepsAt = last.Add(a.opts.SleepAfter)
		}
	case StateAsleep:
		s.Reason = "asleep"
		if s.Next != nil {
			s.Reason += ", next cron " + when(s.Next.At, a.opts.Now())
		}
		if s.Image == nil {
			s.Reason += "; it will boot"
		}
	}
	return s
}

// ago is a length of time to one or two digits that matter.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Hours()))
}

// when is a time as people say it: without the day when that is today's.
func when(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}
