package gateway_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/openclaw/openclawtest"
)

func TestMain(m *testing.M) { os.Exit(openclawtest.Run(m)) }

func dialShared(t *testing.T) (*openclawtest.Gateway, *gateway.Client) {
	t.Helper()
	g := openclawtest.SharedGateway(t)
	c, err := gateway.Dial(within(t), g.Dial, g.Token)
	if err != nil {
		t.Fatalf("%v\n%s", err, g.Log())
	}
	t.Cleanup(func() { c.Close() })
	return g, c
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), openclawtest.BootLimit)
	t.Cleanup(cancel)
	return ctx
}

func TestRealGatewayAnswersTheHost(t *testing.T) {
	g, c := dialShared(t)
	t.Logf("boot %v, server %+v", g.Boot, c.Server)
	start := time.Now()
	if err := c.Health(within(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("health %v", time.Since(start))
	if _, err := c.Devices(within(t)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := c.Health(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRealGatewayRefusals(t *testing.T) {
	g, c := dialShared(t)
	_, err := gateway.Dial(within(t), g.Dial, "wrong")
	var refused *gateway.RPCError
	if !errors.As(err, &refused) || refused.DetailCode() != "AUTH_TOKEN_MISMATCH" {
		t.Errorf("wrong token: %v", err)
	}
	_, err = c.ApproveDevice(within(t), "00000000-0000-0000-0000-000000000000")
	if !errors.As(err, &refused) || refused.Code != "INVALID_REQUEST" {
		t.Errorf("unknown request: %v", err)
	}
	if err := c.Call(within(t), "no.such.method", nil, nil); !errors.As(err, &refused) {
		t.Errorf("unknown method: %v", err)
	}
	if err := c.Health(within(t)); err != nil {
		t.Errorf("connection after refusals: %v", err)
	}
}

func TestRealAgentAnswersAndRunsCommands(t *testing.T) {
	g, c := dialShared(t)
	start := time.Now()
	text, err := c.Chat(within(t), "main", "hello there")
	if err != nil || !strings.Contains(text, "hello there") {
		t.Fatalf("answer %q, %v\n%s", text, err, g.Log())
	}
	t.Logf("turn %v", time.Since(start))

	// The exec tool acts at once, as it should in a sandbox: nobody is asked.
	called := false
	g.Model.Script(func(turn openclawtest.Turn) openclawtest.Reply {
		if !called {
			called = true
			return openclawtest.Reply{Tool: "exec", Input: map[string]string{"command": "echo $((6*7)) > proof && cat proof && pwd && which openclaw node"}}
		}
		return openclawtest.Reply{Text: "tool said " + strings.Join(turn.ToolResults, "|")}
	})
	defer g.Model.Script(nil)
	text, err = c.Chat(within(t), "main", "run it")
	if err != nil || !strings.Contains(text, "42") {
		t.Fatalf("answer %q, %v\n%s", text, err, g.Log())
	}
	t.Logf("exec answered %q", text)
}
