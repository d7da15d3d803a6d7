package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/internal/agent"
)

// countSockets makes pages count the WebSockets that they open.
func countSockets(t *testing.T, page context.Context) {
	t.Helper()
	const script = `(() => {
		const Plain = WebSocket;
		window.sockets = 0;
		window.WebSocket = class extends Plain { constructor(...args) { super(...args); window.sockets++; } };
	})()`
	if _, err := chromedp.Call(page, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		t.Fatalf("browser: %v", err)
	}
}

func sockets(t *testing.T, page context.Context) int {
	t.Helper()
	n, err := chromedp.Run(page, chromedp.Evaluate[int](`window.sockets`))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sleepAndGoOn puts the agent to sleep with a page open, and goes on by writing
// into that page. It returns the moltworker that serves the agent at the end.
func sleepAndGoOn(t *testing.T, u *up, page context.Context) (again *up) {
	do(t, page, chromedp.Reload())
	awaitPage(t, page, 2*patience, "the composer", composer+` !== null`)
	conversation(t, u, page)
	u.inside("mkdir -p /tmp/kept; echo in memory > /tmp/kept/note")
	owner := t // of the process, beyond the part of the story in which it is started
	before, gateway := sockets(t, page), gatewayPID(t, u)

	t.Run("asleep it takes nothing", func(t *testing.T) {
		eventually(t, 2*patience, "it falls asleep", func() bool {
			return u.moltworker("agent", "sleep").code == 0
		})
		if s := status(t, u); s.State != agent.StateAsleep || s.Image == nil || !strings.HasPrefix(s.Reason, "asleep") {
			t.Errorf("asleep as %+v", s)
		}
		eventually(t, patience, "its processes end", func() bool { return len(processesOf(t, u.data)) == 0 })
	})

	t.Run("a message wakes it on the socket that slept with it", func(t *testing.T) {
		conversation(t, u, page)
		s := status(t, u)
		if s.Note != "" {
			t.Errorf("it woke with a note: %s", s.Note)
		}
		for _, past := range s.History[max(len(s.History)-3, 0):] {
			t.Logf("%s for %s", past.State, past.Took)
		}
		if after := sockets(t, page); after != before {
			t.Errorf("the page opened %d sockets, %d before the sleep", after, before)
		}
		if after := gatewayPID(t, u); after != gateway {
			t.Errorf("the gateway is process %s, was %s", after, gateway)
		}
		if note := u.inside("cat /tmp/kept/note"); strings.TrimSpace(note) != "in memory" {
			t.Errorf("what was in memory is %q", note)
		}
	})

	t.Run("it sleeps through the end of moltworker, and a page wakes it", func(t *testing.T) {
		eventually(t, 2*patience, "it falls asleep", func() bool {
			return u.moltworker("agent", "sleep").code == 0
		})
		address := u.address()
		u.kill()
		again = u.again(owner, "--listen", address)
		again.await(0, patience, "an agent that sleeps", func(e event) bool { return e.Agent != nil && e.Agent.State == agent.StateAsleep })
		do(t, page, chromedp.Reload())
		conversation(t, again, page)
		if after := gatewayPID(t, again); after != gateway {
			t.Errorf("the gateway is process %s, was %s", after, gateway)
		}
	})
	return again
}

// status is what `agent ls` says of the main agent.
func status(t *testing.T, u *up) agent.Status {
	t.Helper()
	var list struct {
		Agents []agent.Status `json:"agents"`
	}
	r := u.moltworker("agent", "ls", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list.Agents) == 0 {
		t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	return list.Agents[0]
}
