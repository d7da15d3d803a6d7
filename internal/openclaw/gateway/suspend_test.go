package gateway_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw/gateway"
)

const prepareMethod = "gateway.suspend.prepare"

func TestPrepareSuspend(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		check  func(gateway.Suspension) bool
	}{
		"idle": {`{"status":"ready","suspensionId":"s1","expiresAtMs":1795372414620,"activeCount":0,"blockers":[],"writeCustody":[]}`,
			func(s gateway.Suspension) bool {
				return s.Ready && s.ID == "s1" && s.Expires.Equal(time.UnixMilli(1795372414620)) && s.Reason == ""
			}},
		"busy": {`{"status":"busy","reason":"active-work","retryAfterMs":20000,"activeCount":2,"blockers":[{"kind":"chat-run","count":1,"message":"1 active chat run","task":{}},{"kind":"cron-run","count":1,"message":"x"}]}`,
			func(s gateway.Suspension) bool {
				return !s.Ready && s.ID == "" && s.Reason == "active-work" && s.RetryAfter == 20*time.Second && s.Active == 2 &&
					len(s.Blockers) == 2 && s.Blockers[0] == gateway.Blocker{Kind: "chat-run", Count: 1, Message: "1 active chat run"}
			}},
		"busy and hostile": {`{"status":"busy","reason":"\u001b[31m","retryAfterMs":1e300,"activeCount":-7,"blockers":[` +
			strings.Repeat(`{"kind":"k\u0007","count":1e300,"message":"`+strings.Repeat("m", 5000)+`"},`, 999) + `{}]}`,
			func(s gateway.Suspension) bool {
				return !s.Ready && s.Reason == "[31m" && s.RetryAfter == time.Hour && s.Active == 0 && len(s.Blockers) == 32 &&
					s.Blockers[0].Kind == "k" && s.Blockers[0].Count == 1_000_000 && len(s.Blockers[0].Message) == 512
			}},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustDial(t, fake(t, answering(map[string]string{prepareMethod: ok("ID", tt.answer)})))
			s, err := c.PrepareSuspend(within(t), "sleep-1")
			if err != nil || !tt.check(s) {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

func TestPrepareSuspendDoesNotBelieveHalfAnAnswer(t *testing.T) {
	for _, answer := range []string{
		`{}`, `{"status":"draining","suspensionId":"s","expiresAtMs":1795372414620}`, `{"status":"ready"}`,
		`{"status":"ready","suspensionId":"s"}`, `{"status":"ready","suspensionId":"` + strings.Repeat("s", 129) + `","expiresAtMs":1795372414620}`,
		`{"status":"ready","suspensionId":"s","expiresAtMs":-1}`, `{"status":"busy","blockers":7}`,
	} {
		c := mustDial(t, fake(t, answering(map[string]string{prepareMethod: ok("ID", answer)})))
		if s, err := c.PrepareSuspend(within(t), "sleep-1"); err == nil || s.Ready {
			t.Errorf("%s: %+v", answer, s)
		}
	}
}

func TestSuspendRefusals(t *testing.T) {
	suspended := `{"type":"res","id":"ID","ok":false,"error":{"code":"UNAVAILABLE","message":"gateway is suspending","details":{"reason":"gateway-suspending"},"retryable":true,"retryAfterMs":1000}}`
	c := mustDial(t, fake(t, answering(map[string]string{
		prepareMethod:            suspended,
		"gateway.suspend.resume": ok("ID", `{"ok":false}`),
		"gateway.suspend.status": ok("ID", `{"status":"draining"}`),
	})))
	var refused *gateway.RPCError
	if _, err := c.PrepareSuspend(within(t), "a"); !errors.As(err, &refused) || refused.DetailReason() != gateway.SuspendReason {
		t.Errorf("%v", err)
	}
	if err := c.ResumeSuspend(within(t), "s"); err == nil {
		t.Error("a gateway that stays suspended passes for resumed")
	}
	if until, err := c.SuspendStatus(within(t), "s"); err == nil {
		t.Errorf("%v", until)
	}
}

func TestNextCron(t *testing.T) {
	const on = `{"enabled":true,"jobs":3,"nextWakeAtMs":1}`
	job := func(id, more string) string {
		return `{"id":"` + id + `","name":"n-` + id + `","enabled":true,"scheduleKind":"every",` + more + `}`
	}
	for name, tt := range map[string]struct {
		status, jobs string
		check        func(gateway.Next) bool
	}{
		"nothing planned": {on, ``, func(n gateway.Next) bool { return n.Due.ID == "" && n.Wanted.ID == "" }},
		"switched off": {`{"enabled":false}`, job("a", `"nextRunAtMs":1795372414620`),
			func(n gateway.Next) bool { return n.Due.ID == "" }},
		"OpenClaw's own come first": {on,
			job("d", `"nextRunAtMs":4000,"declarationKey":"mine"`) + "," + job("h", `"nextRunAtMs":1000,"declarationKey":"heartbeat:main","displayName":"Heartbeat"`) + "," +
				job("m", `"nextRunAtMs":2000,"declarationKey":"memory-core:memory-dreaming-promotion"`) + "," +
				job("s", `"nextRunAtMs":3000,"declarationKey":"skill-collection-review:main"`),
			func(n gateway.Next) bool {
				return n.Due.ID == "h" && n.Due.Name == "Heartbeat" && n.Due.Kind == gateway.CronHeartbeat && n.Due.Due.Equal(time.UnixMilli(1000)) &&
					n.Wanted.ID == "d" && n.Wanted.Kind == gateway.CronUser && len(n.Running) == 0
			}},
		"a running job": {on, job("r", `"nextRunAtMs":null,"runningAtMs":5`) + "," + job("u", `"nextRunAtMs":9000`),
			func(n gateway.Next) bool { return n.Due.ID == "u" && len(n.Running) == 1 && n.Running[0].ID == "r" }},
		"jobs that wait for an event": {on, `{"id":"e","name":"e","enabled":true,"scheduleKind":"on-exit","nextRunAtMs":1},{"id":"f","enabled":true,"scheduleKind":"stream"}`,
			func(n gateway.Next) bool { return n.Due.ID == "" && n.Events == 2 }},
		"disabled and nameless": {on, `{"id":"x","enabled":false,"nextRunAtMs":1},{"enabled":true,"nextRunAtMs":1}`,
			func(n gateway.Next) bool { return n.Due.ID == "" }},
		"times out of this world": {on, job("a", `"nextRunAtMs":1e300`) + "," + job("b", `"nextRunAtMs":-5`) + "," + job("c", `"nextRunAtMs":7000`),
			func(n gateway.Next) bool { return n.Due.ID == "c" }},
		"hostile": {on, strings.Repeat(`{"id":"`+strings.Repeat("i", 3000)+`","name":"\u001b]0;x\u0007","enabled":true,"runningAtMs":1,"nextRunAtMs":5},`, 4999) + `{}`,
			func(n gateway.Next) bool {
				return len(n.Due.ID) == 512 && n.Due.Name == "]0;x" && len(n.Running) == 200
			}},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustDial(t, fake(t, answering(map[string]string{
				"cron.status": ok("ID", tt.status), "cron.list": ok("ID", `{"jobs":[`+tt.jobs+`]}`),
			})))
			n, err := c.NextCron(within(t))
			if err != nil || !tt.check(n) {
				t.Errorf("%+v, %v", n, err)
			}
		})
	}
	c := mustDial(t, fake(t, answering(map[string]string{"cron.status": ok("ID", on), "cron.list": ok("ID", `{"jobs":"all"}`)})))
	if n, err := c.NextCron(within(t)); err == nil {
		t.Errorf("%+v", n)
	}
}
