package web

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/test/browser"
)

// tab is one tab of a real browser.
type tab struct{ *browser.Tab }

func (b tab) dress(width int64, scheme string) {
	b.T.Helper()
	height := int64(900)
	if width < 500 {
		height = 844
	}
	b.Do(chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}

const live = `document.querySelector("[data-live-state]")?.textContent === "Live"`

// Every page fits a desk's screen and a phone's, by day and by night, and the
// browser has nothing to complain about.
func TestPagesInABrowser(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := serve(t, full(usual))
	w.trail.entries = recorded(30, usual)
	for _, look := range []struct {
		name   string
		width  int64
		scheme string
	}{{"desk-light", 1280, "light"}, {"desk-dark", 1280, "dark"}, {"phone-light", 390, "light"}, {"phone-dark", 390, "dark"}} {
		b.dress(look.width, look.scheme)
		for _, p := range []string{"overview", "agents", "devices", "logs", "gateway", "secrets", "storage", "version", "diff", "restore", "audit"} {
			path := "/_admin/" + p
			switch p {
			case "overview":
				path = "/_admin/"
			case "version", "diff", "restore":
				path = "/_admin/storage/" + p + "?agent=main&version=latest&from=1&to=2"
			}
			b.Do(chromedp.Navigate(w.url + path))
			if still := map[string]bool{"secrets": true, "version": true, "diff": true, "restore": true}; !still[p] {
				b.Until(p+" is live", live)
			}
			b.Until(p+" fits the width", `document.documentElement.scrollWidth <= innerWidth`)
			b.Picture(p + "-" + look.name)
			b.Quiet(p + " " + look.name)
		}
	}
}

// The overview follows its agents; a restart asks first and then says what it did.
func TestOverviewIsLive(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := serve(t, full(usual))
	b.dress(1280, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/"))
	b.Until("the stream", live)
	b.Press("#past-main summary")
	w.plane.change(func(agents []admin.AgentInfo) {
		agents[2].State, agents[2].Reason = agent.StateAwake, "awake: <i>at last</i>"
	})
	b.Until("the change", `document.body.innerText.includes("awake: <i>at last</i>")`)

	b.Until("what was opened stays open", `document.querySelector("#past-main").open`)
	b.Picture("history")

	b.Do(chromedp.Click(chromedp.CSS("#restart-main")))
	b.Until("a question", `document.querySelector("#ask").open && document.activeElement.closest("#ask") !== null`)
	b.Picture("ask")
	b.Do(chromedp.Click(chromedp.CSS("#ask button.quiet")))
	b.Until("no question any more", `!document.querySelector("#ask").open`)
	b.Do(chromedp.Click(chromedp.CSS("#restart-main")), chromedp.Click(chromedp.CSS("#ask-yes")))
	b.Until("what became of it", `document.querySelector("#flash").innerText.includes("The gateway of main is restarting.")`)
	b.Picture("said")
	b.Until("the focus is where it was", `document.activeElement.id === "restart-main"`)
	if got := w.plane.did(); got != "restart main" {
		t.Errorf("asked for %q", got)
	}
	b.Until("still live", live)

	b.Do(chromedp.KeyEvent("?"))
	b.Until("the shortcuts", `document.querySelector("#keys").open`)
	b.Picture("keys")
	b.Do(chromedp.KeyEvent("\x1b"))
	b.Until("no shortcuts", `!document.querySelector("#keys").open`)
	b.Do(chromedp.KeyEvent("g"), chromedp.KeyEvent("d"))
	b.Until("the devices", `location.pathname === "/_admin/devices" && document.readyState === "complete"`)
	b.Quiet("all that")
}

// TestTheFocusStaysThroughARefresh: what is asked about may be made anew as the question
// is answered; the page is not left for it, and the button that was pressed has the
// focus again.
func TestTheFocusStaysThroughARefresh(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := serve(t, full(usual))
	b.dress(1280, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/"))
	b.Until("the stream", live)
	b.Do(chromedp.Click(chromedp.CSS("#restart-main")))
	b.Until("a question", `document.querySelector("#ask").open`)
	b.Until("the part is to be made anew", `(() => {
		document.addEventListener("close", () => {
			const part = document.querySelector("#part"), anew = part.cloneNode(true);
			part.replaceWith(anew);
			setTimeout(() => htmx.process(anew), 20); // as a swap settles
		}, {capture: true, once: true});
		return window.stayed = true;
	})()`)
	b.Do(chromedp.Click(chromedp.CSS("#ask-yes")))
	b.Until("what became of it", `document.querySelector("#flash").innerText.includes("The gateway of main is restarting.")`)
	b.Until("the focus is where it was", `document.activeElement.id === "restart-main"`)
	b.Until("the page was not left", `window.stayed === true`)
	if got := w.plane.did(); got != "restart main" {
		t.Errorf("asked for %q", got)
	}
	b.Quiet("all that")
}

// Somebody approves a device on a phone, and sees that another one comes while
// they are typing a name, which they do not lose.
func TestDevicesAreLive(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := serve(t, full(usual))
	b.dress(390, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/devices"))
	b.Until("the stream", live)
	b.Do(chromedp.Click(chromedp.CSS(`form[action$="/approve"] button`)))
	b.Until("what became of it", `document.querySelector("#flash").innerText.includes("The device is approved.")`)
	if got := w.plane.did(); got != "approve main r1" {
		t.Errorf("asked for %q", got)
	}
	b.Do(chromedp.Click(chromedp.CSS(".drop summary")), chromedp.SendKeys(chromedp.CSS(`.drop[open] input[name=label]`), " of Ann"))
	w.plane.mu.Lock()
	w.plane.list.Pending[1].Name = "Another browser"
	w.plane.mu.Unlock()
	w.plane.device <- struct{}{}
	b.Until("it waits", `document.querySelector("#part").dataset.stale === "yes"`)
	b.Until("nothing is lost", `document.querySelector(".drop[open] input[name=label]").value.includes(" of Ann")`)
	b.Picture("renaming")
	b.Do(chromedp.Click(chromedp.CSS(".drop[open] summary")))
	b.Until("the other one", `document.body.innerText.includes("Another browser")`)
	b.Quiet("all that")
}

// The log runs, stops, and is filtered.
func TestLogIsLive(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := serve(t, full(usual))
	b.dress(1280, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/logs"))
	b.Until("the stream", live)
	say := func(text string) {
		w.plane.lines <- agent.LogEntry{Time: testNow, Stream: "stderr", Text: text}
	}
	say("<b>first</b> \x1b[31mred")
	b.Until("a line", `document.querySelector("#log").lastChild.lastChild.textContent === "<b>first</b> red"`)
	b.Do(chromedp.Click(chromedp.CSS("#pause")))
	say("second")
	b.Until("it waits", `document.querySelector("#lognote").textContent.includes("1 more wait")`)
	b.Do(chromedp.Click(chromedp.CSS("#pause")))
	b.Until("it runs on", `document.querySelector("#log").lastChild.lastChild.textContent === "second"`)
	b.Do(chromedp.SendKeys(chromedp.CSS("#filter"), "FIRST"))
	b.Until("one line is left", `document.querySelectorAll("#log > :not([hidden])").length === 1`)
	b.Picture("filtered")
	b.Quiet("all that")
}

// Opening an agent goes to its own host, past a policy that lets no form do so.
func TestOpenInABrowser(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := serve(t, full(usual))
	b.dress(390, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/"))
	b.Until("the menu", `document.querySelector("details.menu summary") !== null`)
	b.Do(chromedp.Click(chromedp.CSS("details.menu summary")))
	b.Picture("menu")
	b.Do(chromedp.Click(chromedp.CSS("h1")))
	b.Until("the menu is closed", `!document.querySelector("details.menu").open`)
	if _, err := chromedp.Run(b.Ctx, chromedp.Evaluate[bool](`document.querySelector("#open-second").form.removeAttribute("target"), true`)); err != nil {
		t.Fatal(err)
	}
	b.Do(chromedp.Click(chromedp.CSS("#open-second")))
	b.Until("the agent", `location.hostname === "localhost" && document.body.innerText.includes("the agent")`)
}
