package web

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/test/browser"
)

// The whole of it, with the real control plane: a device asks while its page is
// open, is approved, named and thrown out, and the record says who did that.
func TestADevicesLifeOnThePages(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	real := admintest.New(t, nil)
	real.Main.Become(agent.StateAwake)
	w := serveThe(t, real.Plane, real.Options.Audit)
	b.dress(1280, "light")
	b.Do(chromedp.Navigate(w.url + "/_admin/devices"))
	b.Until("the stream", live)
	b.Until("nobody", `document.body.innerText.includes("No device uses main yet.")`)

	real.Main.OpenClaw.Ask("req-1", "device-1", "Ann's <b>phone</b>")
	b.Until("somebody asks", `document.querySelector("#waiting") !== null && document.body.innerText.includes("device-1")`)
	b.Press(`form[action$="/approve"] button`)
	b.Until("it is paired", `document.querySelector("#paired") !== null && document.body.innerText.includes("by ann@example.com")`)

	b.Press(".drop summary")
	b.Do(chromedp.SendKeys(chromedp.CSS(`.drop[open] input[name=label]`), "Night <i>phone</i> "))
	b.Press(".drop[open] button")
	b.Until("its name", `document.querySelector("section[aria-labelledby=paired] h3").textContent.includes("Night <i>phone</i>")`)
	b.Press(`form[action$="/revoke"] button`)
	b.Press("#ask-yes")
	b.Until("nobody again", `document.body.innerText.includes("No device uses main yet.")`)

	b.Do(chromedp.Navigate(w.url + "/_admin/audit"))
	b.Until("the record", live)
	record, err := chromedp.Run(b.Ctx, chromedp.Text(chromedp.CSS("#part")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"device.approve", "device.rename", "device.revoke", "person ann@example.com", "203.0.113.9"} {
		if !strings.Contains(record, want) {
			t.Errorf("the record does not say %q:\n%s", want, record)
		}
	}
	b.Press("#verify")
	b.Until("it holds", `document.querySelector("#flash").innerText.includes("are as they were recorded")`)

	b.Do(chromedp.Navigate(w.url + "/_admin/secrets"))
	b.Press(`form[action$="/rotate"] button`)
	b.Press("#ask-yes")
	b.Until("a new token", `document.querySelector("#flash .flash.good") !== null`)
	page, err := chromedp.Run(b.Ctx, chromedp.OuterHTML(chromedp.CSS("html")))
	if err != nil {
		t.Fatal(err)
	}
	if token := real.Main.Token(); token == "the-first-token" || strings.Contains(page, token) {
		t.Error("the token is the old one, or the page shows it")
	}
	b.Picture("rotated")
	b.Do(chromedp.Navigate(w.url + "/_admin/"))
	b.Until("the overview", live)
	b.Press("#sleep-main")
	b.Until("it sleeps", `document.querySelector("#wake-main") !== null`)
	b.Press("#wake-main")
	b.Until("it is awake", `document.querySelector("#sleep-main") !== null`)
	b.Quiet("all that")
}
