package edge

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/test/browser"
)

// content waits until the page's whole markup holds what is wanted.
func content(t *testing.T, ctx context.Context, what, want string) {
	t.Helper()
	until(t, what, func() bool {
		html, err := chromedp.Run(ctx, chromedp.OuterHTML("html"))
		return err == nil && strings.Contains(html, want)
	})
}

// A real browser opens the link while the agent boots, sees what is going on
// without touching anything, and ends up on the agent's page.
func TestBrowserSeesTheBootBecomeThePage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	w := serve(t)
	w.main.set(func(s *agent.Status) { s.State, s.Reason = agent.StateBooting, "making the sandbox" })
	ctx := browser.Open(t)
	url := "http://localhost" + strings.TrimPrefix(w.addr, "127.0.0.1")
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url+"/?token="+testToken)); err != nil {
		t.Fatal(err)
	}
	content(t, ctx, "the loading page", "making the sandbox")
	w.main.set(func(s *agent.Status) {
		s.Reason, s.Phases = "loading OpenClaw", []agent.Phase{{Name: "gateway", Label: "Loading <i>OpenClaw</i>", Started: time.Now()}}
	})
	content(t, ctx, "the next phase", "Loading &lt;i&gt;OpenClaw&lt;/i&gt;")
	w.main.set(func(s *agent.Status) { s.State = agent.StateAwake })
	content(t, ctx, "the agent's page", "<title>OpenClaw</title>")
	if got, err := chromedp.Run(ctx, chromedp.Location()); err != nil || got != url+"/#token="+testToken {
		t.Errorf("the token went from %q, %v", got, err)
	}
}

// The page that waits for its pairing shows the command that works here.
func TestBrowserIsToldOurCommand(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	w := serve(t)
	ctx := browser.Open(t)
	url := "http://second.localhost" + strings.TrimPrefix(w.addr, "127.0.0.1")
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url+"/pairing?token="+testToken)); err != nil {
		t.Fatal(err)
	}
	content(t, ctx, "our command", ">moltworker device approve "+testRequestID+" --agent second</code>")
}

// The page of a real browser wakes the agent when somebody acts on it, and says so
// in what it asks from then on. Until then it does nothing of the kind.
func TestBrowserSaysThatSomebodyIsThere(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	w := serve(t)
	ctx := browser.Open(t)
	url := "http://localhost" + strings.TrimPrefix(w.addr, "127.0.0.1")
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url+"/?token="+testToken)); err != nil {
		t.Fatal(err)
	}
	eval := func(script string) string {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	until(t, "the page was looked at", func() bool { return strings.Contains(eval("document.cookie"), presenceCookie+"=1") })
	until(t, "we were told", func() bool { return strings.Contains(w.logged.String(), "path="+wakePath+" status=204") })
	w.main.is(agent.StateAsleep)
	// What happened a moment ago is not said again; so a minute passes.
	eval(`performance.now = () => 60000; addEventListener("online", () => document.title = "connecting"); "done"`)
	if _, err := chromedp.Run(ctx, chromedp.KeyEvent("a")); err != nil {
		t.Fatal(err)
	}
	until(t, "the agent is being woken", func() bool { return w.main.Status().State == agent.StateWaking })
	w.main.is(agent.StateAwake)
	until(t, "the page connects", func() bool { return eval("document.title") == "connecting" })
}
