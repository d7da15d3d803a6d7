package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/agent"
)

// TestPool makes an agent out of a spare that was booted ahead of need, and
// removes it.
func TestPool(t *testing.T) {
	owner := t // of processes that outlive the part of the story in which they start
	u := startIn(t, t.TempDir(), []string{"MOLTWORKER_POOL=1"})
	u.awaitAwake(0)
	eventually(t, bootPatience, "a spare is ready", func() bool {
		ready, err := filepath.Glob(filepath.Join(u.data, "pool", "*", "ready"))
		return err == nil && len(ready) == 1
	})

	var made struct {
		agent.Status
		Link string `json:"link"`
	}
	began := time.Now()
	r := u.moltworker("agent", "create", "work", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || r.code != 0 {
		t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	t.Logf("a new agent was awake after %.2f s", time.Since(began).Seconds())
	for _, past := range made.History {
		if past.State == agent.StateBooting {
			t.Errorf("it booted: %+v; %s", past, made.Note)
		}
	}

	t.Run("it is reached at its own address, and is nobody else", func(t *testing.T) {
		mine, theirs := identity(t, u.link()), identity(t, made.Link)
		for what, value := range mine {
			if value == "" || theirs[what] == "" || value == theirs[what] {
				t.Errorf("%s: %q and %q", what, value, theirs[what])
			}
		}
	})

	t.Run("it outlives moltworker", func(t *testing.T) {
		u.kill()
		u = u.again(owner)
		u.await(0, bootPatience, "the created agent", func(e event) bool {
			return e.Agent != nil && e.Agent.Agent == "work" && e.Agent.State == agent.StateAwake
		})
		r := u.moltworker("agent", "create", "work")
		if r.code != 1 || !strings.Contains(r.stderr, "there is an agent of that name") {
			t.Errorf("a second agent of that name: code %d: %s", r.code, r.stderr)
		}
	})

	t.Run("it is removed, with its files kept", func(t *testing.T) {
		if r := u.moltworker("agent", "rm", "work"); r.code != 2 {
			t.Errorf("without --yes: code %d", r.code)
		}
		var gone struct {
			Kept string `json:"kept"`
		}
		r := u.moltworker("agent", "rm", "work", "--yes", "--json")
		if err := json.Unmarshal([]byte(r.stdout), &gone); err != nil || r.code != 0 {
			t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
		}
		if found, err := filepath.Glob(filepath.Join(gone.Kept, "home", ".openclaw", "openclaw.json")); err != nil || len(found) != 1 {
			t.Errorf("its files are not in %q", gone.Kept)
		}
		if r := u.moltworker("agent", "wake", "work"); r.code != 4 {
			t.Errorf("waking an agent that is no more: code %d: %s", r.code, r.stderr)
		}
	})
	if code := u.stop(); code != 0 {
		t.Errorf("ended with code %d", code)
	}
	leavesNothing(t, u.data)
}

// identity is what an agent says that must be its own: its token, and what its
// gateway draws at random for a connection.
func identity(t *testing.T, link string) map[string]string {
	t.Helper()
	at, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	token := at.Query().Get("token")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	socket := fmt.Sprintf("ws://127.0.0.1:%s/", at.Port())
	conn, _, err := websocket.Dial(ctx, socket, &websocket.DialOptions{
		Host: at.Host, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	var challenge struct {
		Payload struct {
			Nonce string `json:"nonce"`
		} `json:"payload"`
	}
	_, data, err := conn.Read(ctx)
	if err != nil || json.Unmarshal(data, &challenge) != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return map[string]string{"token": token, "random number": challenge.Payload.Nonce}
}
