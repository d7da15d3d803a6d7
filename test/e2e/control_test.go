package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/test/browser"
)

// TestControlPlane is what whoever runs moltworker does in a browser: take the
// setup link with a passkey, let a waiting browser in and throw it out again, on a
// desk's screen and on a phone's, restart a gateway, look at what it says, and at
// who did what; then leave, and come back with the passkey.
func TestControlPlane(t *testing.T) {
	t.Parallel()
	u := startUp(t, t.TempDir())
	desk := browser.Open(t)
	if err := browser.GiveAuthenticator(desk); err != nil {
		t.Fatal(err)
	}
	do(t, desk, chromedp.EmulateViewport(1280, 900))
	setup, _ := u.await(0, patience, "setup link", func(e event) bool { return e.Event == "setup" })
	plane, _, _ := strings.Cut(setup.URL, "setup#")

	t.Run("a stranger is asked to sign in", func(t *testing.T) {
		stranger := browser.Open(t)
		do(t, stranger, chromedp.Navigate(plane+"devices?agent=main"))
		awaitPage(t, stranger, patience, "the sign-in page", `location.pathname === "/_admin/sign-in" && document.querySelector("#use-passkey, #password") !== null`)
		shot(t, stranger, "sign-in")
	})

	t.Run("the setup link makes the first account, with a passkey", func(t *testing.T) {
		do(t, desk, chromedp.Navigate(setup.URL))
		awaitPage(t, desk, patience, "the offer of a passkey", `document.querySelector("#make-passkey")?.checkVisibility()`)
		shot(t, desk, "setup")
		do(t, desk, chromedp.SendKeys("#name", "Ann"), chromedp.Click("#make-passkey"))
		awaitPage(t, desk, patience, "the overview", `location.pathname === "/_admin/" && document.body.innerText.includes("Ann")`)
		if r := u.moltworker("user", "ls"); r.code != 0 || !strings.Contains(r.stdout, "Ann") {
			t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
		}
	})
	u.awaitAwake(0)
	t.Run("the overview shows the boot, and its end, by itself", func(t *testing.T) {
		awaitPage(t, desk, patience, "an agent that is awake", `document.querySelector(".agent .tag.good") !== null`)
		shot(t, desk, "overview")
	})

	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"desk", 1280, 900}, {"phone", 390, 844}} {
		t.Run("a browser that waits is let in and thrown out, on a "+screen.name, func(t *testing.T) {
			do(t, desk, chromedp.EmulateViewport(screen.width, screen.height), chromedp.Navigate(plane+"devices?agent=main"))
			letInAndThrowOut(t, u, desk, screen.name)
		})
	}

	t.Run("somebody who has signed in need not ask", func(t *testing.T) {
		do(t, desk, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(strings.TrimSuffix(plane, "_admin/")))
		awaitPage(t, desk, 3*patience, "the composer", composer+` !== null`)
		do(t, desk, chromedp.Navigate(plane+"devices?agent=main"))
		awaitPage(t, desk, patience, "the record of it", `/approved .* by .*Ann.*automatic/.test(document.body.innerText)`)
	})

	t.Run("the gateway is restarted, and says so live", func(t *testing.T) {
		seen := u.seen()
		do(t, desk, chromedp.Navigate(plane+"gateway"), chromedp.Click("#restart-main"))
		awaitPage(t, desk, patience, "the question", `document.querySelector("#ask")?.open === true`)
		do(t, desk, chromedp.Click("#ask-yes"))
		awaitPage(t, desk, patience, "the steps of a start", `document.querySelector(".steps .active") !== null`)
		shot(t, desk, "restart")
		u.awaitAwake(seen)
		awaitPage(t, desk, patience, "the end of it", `document.querySelector(".agent .tag.good") !== null`)
		do(t, desk, chromedp.Navigate(plane+"logs?agent=main"))
		awaitPage(t, desk, patience, "what OpenClaw says", `document.querySelectorAll("#log .ln").length > 5`)
		shot(t, desk, "logs")
	})

	t.Run("every page is there, on a phone too", func(t *testing.T) {
		for _, page := range []string{"", "agents", "devices", "logs", "gateway", "secrets", "storage", "audit", "account"} {
			for _, width := range []int64{390, 1280} {
				do(t, desk, chromedp.EmulateViewport(width, 900), chromedp.Navigate(plane+page))
				awaitPage(t, desk, patience, page+" that fits", `document.querySelector("h1") !== null && document.documentElement.scrollWidth <= innerWidth`)
				shot(t, desk, fmt.Sprintf("admin-%s-%d", page, width))
			}
		}
	})

	t.Run("who did what is on record", func(t *testing.T) {
		do(t, desk, chromedp.Navigate(plane+"audit"))
		for _, action := range []string{"device.approve", "device.revoke", "agent.restart"} {
			awaitPage(t, desk, patience, action, `document.body.innerText.includes("`+action+`")`)
		}
		if r := u.moltworker("audit", "verify"); r.code != 0 {
			t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
		}
	})

	t.Run("signing out closes the agent's page too", func(t *testing.T) {
		const field = `document.querySelector('form[action="/_admin/sign-out"] input[name="proof"]').value`
		do(t, desk, chromedp.Navigate(plane+"account"))
		awaitPage(t, desk, patience, "the account", field+` !== ""`)
		proof, err := chromedp.Run(desk, chromedp.Evaluate[string](field))
		if err != nil {
			t.Fatal(err)
		}
		do(t, desk, chromedp.Navigate(strings.TrimSuffix(plane, "_admin/")))
		awaitPage(t, desk, 3*patience, "a page that is connected", settled+` && !document.body.innerText.includes('Reconnecting')`)
		// As in another tab.
		awaitPage(t, desk, patience, "the end of the sign-in", `fetch("/_admin/sign-out", {method: "POST", body: new URLSearchParams({proof: "`+proof+`"})}) !== null`)
		awaitPage(t, desk, 2*patience, "its dismissal", `document.querySelector('.login-gate__failure') !== null || document.body.innerText.includes('Reconnecting')`)
		shot(t, desk, "signed-out")
	})

	t.Run("the passkey opens again", func(t *testing.T) {
		do(t, desk, chromedp.Navigate(plane+"account"))
		awaitPage(t, desk, patience, "the sign-in page", `location.pathname === "/_admin/sign-in" && document.querySelector("#use-passkey")?.checkVisibility()`)
		do(t, desk, chromedp.Click("#use-passkey"))
		awaitPage(t, desk, patience, "where she wanted to be", `location.pathname === "/_admin/account" && document.body.innerText.includes("Ann")`)
	})

	t.Run("the setup link is spent", func(t *testing.T) {
		do(t, desk, chromedp.Navigate("about:blank"), chromedp.Navigate(setup.URL))
		awaitPage(t, desk, patience, "a refusal", `document.querySelector(".flash.bad") !== null && document.querySelector("#make-passkey") === null`)
	})
}

// letInAndThrowOut has another browser come with the agent's link, which waits
// until it is approved at the desk, and is revoked there.
func letInAndThrowOut(t *testing.T, u *up, desk context.Context, name string) {
	t.Helper()
	guest := browser.Open(t)
	do(t, guest, chromedp.Navigate(u.link()))
	awaitPage(t, guest, 2*patience, "the pairing state", `document.querySelector('.login-gate__failure')?.dataset.kind === 'pairing-required'`)
	const approve = `form[action="/_admin/devices/approve"] button`
	awaitPage(t, desk, patience, "the waiting browser", `document.querySelector('`+approve+`') !== null`)
	shot(t, desk, "approve-"+name)
	do(t, desk, chromedp.Click(approve))
	awaitPage(t, guest, 2*patience, "the composer", composer+` !== null`)
	const revoke = `form[action="/_admin/devices/revoke"] button`
	awaitPage(t, desk, patience, "the paired browser", `document.querySelector('`+approve+`') === null && document.querySelector('`+revoke+`') !== null`)
	shot(t, desk, "paired-"+name)
	do(t, desk, chromedp.Click(revoke))
	awaitPage(t, desk, patience, "the question", `document.querySelector("#ask")?.open === true`)
	do(t, desk, chromedp.Click("#ask-yes"))
	awaitPage(t, guest, 2*patience, "its dismissal", `document.querySelector('.login-gate__failure') !== null || document.body.innerText.includes('Reconnecting')`)
	shot(t, guest, "revoked-"+name)
	awaitPage(t, desk, patience, "the list without it", `document.querySelector('`+revoke+`') === null`)
	// It asks anew by itself; the next part of the story begins without it.
	if err := chromedp.Do(guest, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	for _, request := range waiting(t, u) {
		if r := u.moltworker("device", "reject", request); r.code != 0 {
			t.Fatalf("reject: code %d: %s", r.code, r.stderr)
		}
	}
}
