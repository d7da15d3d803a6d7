package signin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/page"
	"github.com/moltworker/moltworker/test/browser"
)

// tab is one tab of a real browser.
type tab struct{ *browser.Tab }

// picture keeps pictures of the page for a desk's screen and a phone's; the page
// fits both.
func (b tab) picture(name string) {
	b.T.Helper()
	for _, screen := range []struct {
		name          string
		width, height int64
	}{{"phone", 390, 844}, {"desk", 1280, 900}} {
		b.Do(chromedp.EmulateViewport(screen.width, screen.height))
		b.Until(name+" fits the width", `document.documentElement.scrollWidth <= innerWidth`)
		b.Picture(name + "-" + screen.name)
	}
}

// serve has the world's pages on this machine, and returns their origin.
func (w *world) serve() string {
	w.Helper()
	static := page.Static()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_admin/static/") {
			static.ServeHTTP(rw, r)
			return
		}
		w.handler.ServeHTTP(rw, r)
	}))
	w.Cleanup(server.Close)
	w.place = access.Place{Host: "localhost", Client: w.place.Client}
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

const atHome = `location.pathname === "/_admin/" && document.body.innerText.includes("the control plane of Ann")`

// The first person comes in by the printed link with a passkey, signs in again with
// it, makes another, and lets somebody in who has no passkey.
func TestFirstRunInABrowser(t *testing.T) {
	b := tab{browser.OpenTab(t)}
	w := newWorld(t, nil)
	origin := w.serve()
	if err := browser.GiveAuthenticator(b.Ctx); err != nil {
		t.Fatal(err)
	}

	token := w.setupToken()
	b.Do(chromedp.Navigate(origin + LinkPath(accounts.Setup, token)))
	b.Until("the form", `!!document.querySelector("#make-passkey") && !document.querySelector("#passkey").hidden`)
	if url, err := chromedp.Run(b.Ctx, chromedp.Location()); err != nil || url != origin+"/_admin/setup" {
		t.Errorf("the token stayed in the URL: %q, %v", url, err)
	}
	b.Until("no script sees the token", `!document.documentElement.outerHTML.includes("`+token+`") && !document.cookie.includes("link")`)
	b.picture("setup")
	b.Do(chromedp.Click(chromedp.CSS("#make-passkey")))
	b.Until("a name is asked for", `!document.querySelector("#passkey-problem").hidden`)
	b.Do(chromedp.SendKeys(chromedp.CSS("#name"), "Ann"), chromedp.Click(chromedp.CSS("#make-passkey")))
	b.Until("Ann is in", atHome)
	b.Quiet("setup")

	b.Do(chromedp.Navigate(origin + AccountPath))
	b.Until("the account", `document.querySelectorAll('form[action$="/passkey/remove"]').length === 1`)
	b.Do(chromedp.Click(chromedp.CSS("#add-passkey")))
	b.Until("this device has one", `document.querySelector("#passkey-problem").innerText.includes("has a passkey for you already")`)
	b.Quiet("account")
	b.Do(chromedp.Click(chromedp.CSS(`form[action="/_admin/sign-out"] button`)))
	b.Until("signed out", `location.pathname === "/_admin/sign-in"`)

	b.Do(chromedp.Navigate(origin + AccountPath))
	b.Until("sent to sign in", `location.pathname === "/_admin/sign-in" && !document.querySelector("#passkey").hidden`)
	b.picture("sign-in")
	b.Do(chromedp.Click(chromedp.CSS("#use-passkey")))
	b.Until("back where she wanted to be", `location.pathname === "/_admin/account" && document.body.innerText.includes("this browser")`)

	b.Do(chromedp.Click(chromedp.CSS(`form[action$="/invite"] button`)))
	b.Until("an invitation", `!!document.querySelector("#invitation-link")`)
	b.picture("account")
	link, err := chromedp.Run(b.Ctx, chromedp.Evaluate[string](`document.querySelector("#invitation-link").innerText`))
	if err != nil {
		t.Fatal(err)
	}
	b.Do(chromedp.Navigate(strings.TrimSpace(link)))
	b.Until("the invitation's form", `!!document.querySelector("#enroll")`)
	b.Do(chromedp.SendKeys(chromedp.CSS("#name"), "bob"), chromedp.SendKeys(chromedp.CSS("#password"), goodPassword+"\r"))
	b.Until("Bob is in", `document.body.innerText.includes("the control plane of bob")`)
	b.Quiet("all that")
}
