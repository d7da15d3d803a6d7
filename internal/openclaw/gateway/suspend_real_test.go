package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/openclaw/openclawtest"
)

// settled asks for a suspension until what earlier tests started has ended.
func settled(t *testing.T, c *gateway.Client, requestID string) gateway.Suspension {
	t.Helper()
	for ctx := within(t); ; {
		s, err := c.PrepareSuspend(ctx, requestID)
		if err != nil {
			t.Fatal(err)
		}
		if s.Ready {
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("never ready: %+v", s)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func TestRealGatewayIsSuspendedAndResumed(t *testing.T) {
	g, c := dialShared(t)
	s := settled(t, c, "test-idle")
	t.Logf("%+v, lasts %v", s, time.Until(s.Expires))
	defer c.ResumeSuspend(context.WithoutCancel(t.Context()), s.ID)
	var refused *gateway.RPCError
	if err := c.Health(within(t)); !errors.As(err, &refused) || refused.DetailReason() != gateway.SuspendReason {
		t.Errorf("a call while suspended: %v", err)
	}
	if _, err := c.NextCron(within(t)); !errors.As(err, &refused) || refused.DetailReason() != gateway.SuspendReason {
		t.Errorf("the cron table while suspended: %v", err)
	}
	if until, err := c.SuspendStatus(within(t), s.ID); err != nil || !until.Equal(s.Expires) {
		t.Errorf("%v, %v", until, err)
	}
	again, err := c.PrepareSuspend(within(t), "test-idle")
	if err != nil || again.ID != s.ID || again.Expires.Before(s.Expires) {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	if _, err := c.PrepareSuspend(within(t), "someone else"); !errors.As(err, &refused) || refused.DetailReason() != "gateway-suspension-conflict" {
		t.Errorf("another request: %v", err)
	}
	if err := c.ResumeSuspend(within(t), "00000000-0000-0000-0000-000000000000"); err == nil {
		t.Error("resumed under a wrong id")
	}

	// A new connection, as after a wake, resumes it; twice is as good as once.
	next, err := gateway.Dial(within(t), g.Dial, g.Token)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	for range 2 {
		if err := next.ResumeSuspend(within(t), s.ID); err != nil {
			t.Error(err)
		}
	}
	if until, err := c.SuspendStatus(within(t), s.ID); err != nil || !until.IsZero() {
		t.Errorf("%v, %v", until, err)
	}
	if err := c.Health(within(t)); err != nil {
		t.Errorf("after the resume: %v", err)
	}
}

func TestRealGatewayIsBusyDuringATurn(t *testing.T) {
	g, c := dialShared(t)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	g.Model.Script(func(openclawtest.Turn) openclawtest.Reply {
		asked <- struct{}{}
		<-release
		return openclawtest.Reply{Text: "at last"}
	})
	defer g.Model.Script(nil)
	answered := make(chan error, 1)
	go func() {
		_, err := c.Chat(within(t), "main", "take your time")
		answered <- err
	}()
	<-asked
	s, err := c.PrepareSuspend(within(t), "test-busy")
	close(release)
	if err != nil || s.Ready || s.Reason != "active-work" || s.RetryAfter <= 0 || s.Active == 0 || len(s.Blockers) == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	t.Logf("%+v", s)
	if err := <-answered; err != nil {
		t.Errorf("the turn that was under way: %v", err)
	}
}

func TestRealGatewayTellsWhatIsDueNext(t *testing.T) {
	g, c := dialShared(t)
	events := c.Subscribe(gateway.EventCron)
	defer events.Close()
	before, err := c.NextCron(within(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("as OpenClaw comes: %+v", before)
	if before.Due.Kind == gateway.CronUser || before.Wanted.ID != "" || before.Due.Due.IsZero() {
		t.Errorf("nobody asked for a job, yet %+v", before)
	}
	at := time.Now().Add(20 * time.Minute).Truncate(time.Second).UTC()
	add := func(name string, schedule map[string]any) string {
		t.Helper()
		var added struct {
			ID string `json:"id"`
		}
		err := c.Call(within(t), "cron.add", map[string]any{
			"name": name, "schedule": schedule, "sessionTarget": "main", "wakeMode": "now",
			"payload": map[string]string{"kind": "systemEvent", "text": "ring"},
		}, &added)
		if err != nil {
			t.Fatalf("add %s: %v\n%s", name, err, g.Log())
		}
		t.Cleanup(func() {
			if err := c.Call(context.WithoutCancel(t.Context()), "cron.remove", map[string]string{"id": added.ID}, nil); err != nil {
				t.Error(err)
			}
		})
		return added.ID
	}
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Now().In(vienna).Add(12 * time.Hour).Hour() // far from now, whenever this runs
	daily := add("daily", map[string]any{"kind": "cron", "expr": fmt.Sprintf("0 %d * * *", hour), "tz": "Europe/Vienna"})
	n, err := c.NextCron(within(t))
	if err != nil || n.Wanted.ID != daily || n.Wanted.Due.In(vienna).Hour() != hour || !n.Wanted.Due.After(time.Now()) {
		t.Errorf("%+v, %v", n, err)
	}
	select {
	case e := <-events.Events():
		t.Logf("event %s %.120s", e.Name, e.Payload)
	case <-within(t).Done():
		t.Error("no event told of the new job")
	}
	often := add("often", map[string]any{"kind": "every", "everyMs": 1_500_000})
	if n, err = c.NextCron(within(t)); err != nil || n.Wanted.ID != often || n.Wanted.Name != "often" {
		t.Errorf("%+v, %v", n, err)
	}
	once := add("once", map[string]any{"kind": "at", "at": at.Format(time.RFC3339)})
	if n, err = c.NextCron(within(t)); err != nil || n.Wanted.ID != once || !n.Wanted.Due.Equal(at) {
		t.Errorf("%+v, %v; want %v", n, err, at)
	}
	t.Logf("%+v", n)
}
