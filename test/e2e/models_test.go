package e2e

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/test/fakemodel"
)

// calls are the recorded calls, newest first.
func (u *up) calls() []admin.ModelCall {
	u.t.Helper()
	r := u.moltworker("ai", "calls", "--json")
	var page admin.ModelCalls
	if err := json.Unmarshal([]byte(r.stdout), &page); err != nil || r.code != 0 {
		u.t.Fatalf("ai calls: code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	return page.Calls
}

// awaitCall waits for a recorded call of a kind.
func (u *up) awaitCall(what string, is func(admin.ModelCall) bool) (found admin.ModelCall) {
	u.t.Helper()
	eventually(u.t, 3*patience, what, func() bool {
		for _, c := range u.calls() {
			if is(c) {
				found = c
				return true
			}
		}
		return false
	})
	return found
}

// callsAreCounted follows what the real OpenClaw's calls cost: a person's turn to the
// last token, a heartbeat as one, and a budget that is spent.
func callsAreCounted(t *testing.T, u *up, provider *fakemodel.Server) {
	t.Run("a turn costs what the provider says", func(t *testing.T) {
		c := u.awaitCall("the turn is recorded", func(c admin.ModelCall) bool { return c.Provider == "anthropic" && c.Status == 200 })
		if c.Trigger != "user" || c.Agent != "main" || c.Tokens.Input != turnUsage.In || c.Tokens.CacheRead != turnUsage.CacheRead || c.Tokens.Output != turnUsage.Out {
			t.Errorf("recorded as %+v", c)
		}
		// claude-sonnet-5-5, the model that agents use unasked, costs $2 for a million
		// tokens read, $0.10 from the cache, and $10 for a million written:
		// 1234 * 2 + 789 * 0.1 + 56 * 10 = 3106.9 millionths of a dollar.
		if want := price.Dollar * 31069 / 10_000_000; c.Cost == nil || *c.Cost != want {
			t.Errorf("it cost %v, want %v", c.Cost, want)
		}
	})

	t.Run("a heartbeat is told from a person", func(t *testing.T) {
		heartbeat(u, "20s")
		c := u.awaitCall("a heartbeat is recorded", func(c admin.ModelCall) bool { return c.Trigger == "heartbeat" })
		if c.Provider != "anthropic" {
			t.Errorf("recorded as %+v", c)
		}
		if r := u.moltworker("ai", "stop", "main", "--trigger", "heartbeat"); r.code != 0 {
			t.Fatalf("code %d: %s", r.code, r.stderr)
		}
		u.awaitCall("a heartbeat is refused", func(c admin.ModelCall) bool { return c.Trigger == "heartbeat" && c.Error == "stopped" })
		heartbeat(u, "0m")
	})

	t.Run("who has spent the budget is told so", func(t *testing.T) {
		if r := u.moltworker("ai", "budget", "set", "tiny", "--limit", "0.000001", "--per", "day"); r.code != 0 {
			t.Fatalf("code %d: %s", r.code, r.stderr)
		}
		before := len(provider.Calls())
		if got := u.chat(t, "one more question"); !strings.Contains(got, "tiny") || !strings.Contains(got, "moltworker ai budget") {
			t.Errorf("it says %s", got)
		}
		for _, c := range provider.Calls()[before:] {
			if strings.Contains(strings.Join(c.Prompts, " "), "one more question") {
				t.Error("the provider was called all the same")
			}
		}
		if r := u.moltworker("ai", "budget", "rm", "tiny"); r.code != 0 {
			t.Errorf("code %d: %s", r.code, r.stderr)
		}
	})
}

// overloaded are the APIs of the provider that take no calls at the moment.
var overloaded atomic.Pointer[string]

// spareRoutes has a person's turns go on elsewhere when Anthropic takes none: at a
// server that speaks OpenAI's API, then at Google.
const spareRoutes = `{"routes": [{"name": "spare", "when": {"models": ["anthropic/*"], "triggers": ["user"]},
	"steps": [{}, {"model": "custom-spare/gpt-x"}, {"model": "google-ai-studio/gemini-3-pro-preview"}]}]}`

// callsFallBack has the real OpenClaw, which speaks Anthropic's API, be answered by
// models of other APIs, with its tools and its history.
func callsFallBack(t *testing.T, u *up, provider *fakemodel.Server, key string) {
	u.putSecret("CUSTOM_SPARE_BASE_URL", provider.URL+"/v1")
	u.putSecret("CUSTOM_SPARE_API_KEY", key)
	u.putSecret("GEMINI_BASE_URL", provider.URL)
	u.putSecret("GEMINI_API_KEY", key)
	defer overloaded.Store(nil)
	for i, busy := range []string{fakemodel.Anthropic, fakemodel.Anthropic + " " + fakemodel.OpenAI} {
		spare := []string{"custom-spare", "google-ai-studio"}[i]
		t.Run("answered by "+spare, func(t *testing.T) {
			overloaded.Store(&busy)
			before := len(provider.Calls())
			if got := u.chat(t, "and now from elsewhere?"); !strings.Contains(got, "the provider itself says hello") {
				t.Errorf("it says %s", got)
			}
			for _, c := range provider.Calls()[before:] {
				if c.Problem != "" {
					t.Errorf("%s refused the translated call: %s", c.API, c.Problem)
				}
			}
			c := u.awaitCall("the turn is recorded", func(c admin.ModelCall) bool { return c.Provider == spare && c.Status == 200 })
			if c.Step != i+1 || c.Trigger != "user" || c.Tokens.Output != turnUsage.Out {
				t.Errorf("recorded as %+v", c)
			}
		})
	}
}

// heartbeat has the agent look by itself so often whether there is anything to do.
// Without a target, one to whom nobody has written by a channel does not.
func heartbeat(u *up, every string) {
	u.inside(`node -e '
		const fs = require("fs"), file = process.env.HOME + "/.openclaw/openclaw.json";
		const config = JSON.parse(fs.readFileSync(file));
		((config.agents ??= {}).defaults ??= {}).heartbeat = {every: "` + every + `", target: "none"};
		fs.writeFileSync(file + ".new", JSON.stringify(config, null, 2));
		fs.renameSync(file + ".new", file)'`)
}
