package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// The agent names its phases as it likes: one that nobody here has heard of is
// shown, where it came, and time between phases is not lost.
func TestStepsAccountForTheWholeWake(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	phase := func(name string, from, to int) agent.Phase {
		return agent.Phase{Name: name, Started: at(from), Ended: at(to)}
	}
	var columns []string
	stepsOf(agent.Status{Phases: []agent.Phase{phase("image", 0, 10), phase("quiet", 10, 20)}}, 20*time.Millisecond, &columns)
	values := stepsOf(agent.Status{Phases: []agent.Phase{phase("image", 0, 10), phase("novel", 10, 810), phase("quiet", 900, 950)}}, time.Second, &columns)
	if want := []string{"image s", "novel s", "quiet s"}; !slices.Equal(columns, want) {
		t.Errorf("columns %v, want %v", columns, want)
	}
	if values["novel s"] != 0.8 || math.Abs(values[colOther]-0.14) > 1e-9 || values["keeper s"] != 1 {
		t.Errorf("values %v", values)
	}
}

func TestOnlyAWakeFromTheImageCountsAsOne(t *testing.T) {
	past := func(states ...agent.State) (h []agent.Past) {
		for _, s := range states {
			h = append(h, agent.Past{State: s, Took: time.Second})
		}
		return h
	}
	image := []agent.Phase{{Name: "image"}, {Name: "memory"}}
	woke := past(agent.StateBooting, agent.StateAwake, agent.StateAsleep, agent.StateWaking)
	for name, tt := range map[string]struct {
		status agent.Status
		wrong  string
	}{
		"woke":             {agent.Status{State: agent.StateAwake, History: woke, Phases: image}, ""},
		"has a note":       {agent.Status{State: agent.StateAwake, History: woke, Phases: image, Note: "booted"}, "its note is"},
		"still on its way": {agent.Status{State: agent.StateWaking, History: woke, Phases: image}, "it is waking"},
		"booted": {agent.Status{State: agent.StateAwake, Phases: image,
			History: past(agent.StateAsleep, agent.StateWaking, agent.StateBooting)}, "it went through"},
		"never slept":    {agent.Status{State: agent.StateAwake, History: past(agent.StateWaking), Phases: image}, "it went through"},
		"new sandbox":    {agent.Status{State: agent.StateAwake, History: woke, Phases: []agent.Phase{{Name: "sandbox"}}}, "its phases were"},
		"without a past": {agent.Status{State: agent.StateAwake}, "it went through"},
	} {
		took, err := restored(tt.status)
		switch {
		case tt.wrong == "" && (err != nil || took != time.Second):
			t.Errorf("%s: %v, %v", name, took, err)
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%s: error %v, want one that says %q", name, err, tt.wrong)
		}
	}
}

func TestSpreads(t *testing.T) {
	var s samples
	s.add("slow", map[string]float64{"s": 3})
	s.add("other", map[string]float64{"MiB": 1})
	s.add("slow", map[string]float64{"s": 1})
	rows := s.spreads("s")
	if len(rows) != 1 || rows[0].Values["times"] != 2 || rows[0].Values["p50 s"] != 2 || rows[0].Values["p99 s"] != 3 || rows[0].Values["max s"] != 3 {
		t.Errorf("rows %v", rows)
	}
}

// Nobody has measured what is zero because the measurement was called off.
func TestAFleetCalledOffClaimsNothing(t *testing.T) {
	f := &fleet{bench: &bench{}, names: []string{"main", "bench-01"}, asleep: 1}
	for _, note := range f.tables("1 1 1")[0].Notes {
		if strings.Contains(note, "disk") || strings.Contains(note, "boots") {
			t.Errorf("claims %q", note)
		}
	}
}
