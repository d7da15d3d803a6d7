package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/test/fakemodel"
)

// TestKeyCountsAtOnce sets a key while the agent runs with the demo model: the
// next message goes to the provider, with the real key, which is nowhere inside.
func TestKeyCountsAtOnce(t *testing.T) {
	const key = "sk-ant-real-8c1f0a66d2"
	provider := fakemodel.Start(&fakemodel.Model{
		Key: key,
		Reply: func(c *fakemodel.Call) fakemodel.Reply {
			if busy := overloaded.Load(); busy != nil && strings.Contains(*busy, c.API) {
				return fakemodel.Reply{Status: 529, Message: "overloaded"}
			}
			return fakemodel.Reply{Text: "the provider itself says hello", Usage: fakemodel.Usage{In: int(turnUsage.In), Out: int(turnUsage.Out), CacheRead: int(turnUsage.CacheRead)}}
		},
	})
	t.Cleanup(provider.Close)
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "routes.json"), []byte(spareRoutes), 0o600); err != nil {
		t.Fatal(err)
	}
	u := startIn(t, data, []string{"ANTHROPIC_BASE_URL=" + provider.URL})
	u.awaitAwake(0)

	if got := u.chat(t, "hello"); !strings.Contains(got, "demo") {
		t.Errorf("without a key: %s", got)
	}
	u.putSecret("ANTHROPIC_API_KEY", key)
	eventually(t, patience, "the configuration names the provider", func() bool {
		return strings.Contains(u.inside("cat ~/.openclaw/openclaw.json"), "mw-anthropic/")
	})
	eventually(t, 2*patience, "the provider answers", func() bool {
		got, err := u.tryChat(t, "hello again")
		return err == nil && strings.Contains(got, "the provider itself says hello")
	})
	if call := provider.Last(); call == nil || call.Problem != "" {
		t.Errorf("the provider refused the call: %+v", call)
	}
	callsAreCounted(t, u, provider)
	callsFallBack(t, u, provider, key)
	if got := strings.TrimSpace(u.inside("cat /proc/*/environ 2>/dev/null | grep -c '" + key + "'; grep -rlF '" + key + "' /home /etc /tmp /run /var 2>/dev/null || echo no")); got != "0\nno" {
		t.Errorf("the key is inside: %s", got)
	}
}

// turnUsage is what the provider says of each answer.
var turnUsage = struct{ In, Out, CacheRead int64 }{1234, 56, 789}

// putSecret seals a secret, as a person does.
func (u *up) putSecret(name, value string) {
	u.t.Helper()
	put := exec.Command(program, "secret", "put", name, "--data", u.data)
	put.Env = append(os.Environ(), u.env...)
	put.Stdin = strings.NewReader(value + "\n")
	if out, err := put.CombinedOutput(); err != nil {
		u.t.Fatalf("secret put %s: %v\n%s", name, err, out)
	}
}
