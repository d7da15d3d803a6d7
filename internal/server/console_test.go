package server

import (
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

func TestAgentLine(t *testing.T) {
	at := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
	boot := []agent.Phase{{Name: "sandbox", Started: at, Ended: at.Add(time.Second)}, {Name: "ready", Started: at.Add(time.Second), Ended: at.Add(12500 * time.Millisecond)}}
	stopping := []agent.Phase{{Name: "stop", Started: at}}
	for _, tt := range []struct {
		s    agent.Status
		want string
	}{
		{agent.Status{Agent: "main", State: agent.StateAwake, Reason: "awake", Phases: boot}, "main: awake after 12.5 s"},
		{agent.Status{Agent: "main", State: agent.StateAwake, Reason: "stopping OpenClaw", Phases: stopping}, "main: stopping OpenClaw"},
		{agent.Status{Agent: "main", State: agent.StateBooting, Reason: "starting OpenClaw", Phases: boot}, "main: starting OpenClaw"},
	} {
		if got := agentLine(tt.s); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
