package web

import (
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/page"
)

const (
	lineWidth = 1000 // of the drawing, in its own units
	leastBar  = 5    // narrowest that is seen
)

// timeline is the states that an agent was in, drawn to scale.
type timeline struct {
	Agent string
	Bars  []bar
	Past  []bar // newest first
	Begin time.Time
}

// bar is one stay in a state.
type bar struct {
	X, Width float64
	State    agent.State
	Tone     string
	Took     time.Duration
	Since    time.Time
	Reason   string
	Now      bool
}

// Title says the same in words.
func (b bar) Title() string {
	text := string(b.State) + " for " + page.Long(b.Took) + ", from " + b.Since.Local().Format("15:04:05")
	if b.Now {
		text = string(b.State) + " since " + b.Since.Local().Format("15:04:05")
	}
	return text
}

// drawn is nil for an agent that has always been in one state: there is nothing
// to see.
func drawn(s agent.Status, now time.Time) *timeline {
	if len(s.History) == 0 || s.Since.IsZero() {
		return nil
	}
	var bars []bar
	for _, p := range s.History {
		bars = append(bars, bar{State: p.State, Tone: tone(p.State), Took: max(p.Took, 0), Since: p.Since, Reason: p.Reason})
	}
	bars = append(bars, bar{State: s.State, Tone: tone(s.State), Took: max(now.Sub(s.Since), 0), Since: s.Since, Reason: s.Reason, Now: true})

	var total time.Duration
	for _, b := range bars {
		total += b.Took
	}
	free, x := float64(lineWidth-leastBar*len(bars)), 0.0
	for i := range bars {
		bars[i].X, bars[i].Width = x, leastBar
		if total > 0 {
			bars[i].Width += free * float64(bars[i].Took) / float64(total)
		}
		x += bars[i].Width
	}
	line := &timeline{Agent: s.Agent, Bars: bars, Begin: bars[0].Since}
	for i := len(bars) - 1; i >= 0; i-- {
		line.Past = append(line.Past, bars[i])
	}
	return line
}
