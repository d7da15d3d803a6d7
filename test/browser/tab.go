package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// PicturesEnv names a directory for pictures of pages; none are taken without.
const PicturesEnv = "MOLTWORKER_TEST_PICTURES"

// patience bounds each step and each wait.
const patience = 2 * time.Minute

// Tab is one tab of a real browser of its own.
type Tab struct {
	T   *testing.T
	Ctx context.Context

	mu   sync.Mutex
	said []string // errors and warnings on its console
}

// OpenTab starts a browser as Open does, and listens to its console.
func OpenTab(t *testing.T) *Tab {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	b := &Tab{T: t, Ctx: Open(t)}
	messages := chromedp.Console(b.Ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == "info" || m.Type == "debug" {
				continue
			}
			b.mu.Lock()
			b.said = append(b.said, m.String()+" "+m.URL)
			b.mu.Unlock()
		}
	}()
	return b
}

// Quiet makes sure that the console has said nothing since it was asked last.
func (b *Tab) Quiet(what string) {
	b.T.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.said) > 0 {
		b.T.Errorf("%s: the console says %s", what, strings.Join(b.said, "\n"))
	}
	b.said = nil
}

// Do takes steps, one after the other.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.Ctx, patience)
	defer cancel()
	if err := Do(ctx, steps...); err != nil {
		b.T.Fatal(err)
	}
}

// Do takes steps in a page, one by one, and takes one again that the page
// overtook, as a person would.
func Do(ctx context.Context, steps ...chromedp.Action[chromedp.Void]) error {
	for _, step := range steps {
		err := chromedp.Do(ctx, step)
		for again := 0; again < 3 && overtaken(err); again++ {
			err = chromedp.Do(ctx, step)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overtaken says whether a step failed because the page changed under it by
// itself: it went somewhere else, as the loading page does when its agent is
// awake, or drew anew what was to be pressed.
func overtaken(err error) bool {
	if err == nil {
		return false
	}
	return strings.Contains(err.Error(), "net::ERR_ABORTED") || strings.Contains(err.Error(), "Could not find node with given id")
}

// Until waits until a JavaScript condition holds.
func (b *Tab) Until(what, condition string) {
	b.T.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-time.After(50 * time.Millisecond) {
		if ok, err := chromedp.Run(b.Ctx, chromedp.Evaluate[bool](condition)); err == nil && ok {
			return
		}
	}
	html, _ := chromedp.Run(b.Ctx, chromedp.OuterHTML(chromedp.CSS("body")))
	b.T.Fatalf("never came: %s\n%s", what, html)
}

// Press clicks on something at once: what is live may be replaced between a look
// for it and a click on it.
func (b *Tab) Press(selector string) {
	b.T.Helper()
	b.Until(selector, fmt.Sprintf(`(e => e !== null && (e.focus(), e.click(), true))(document.querySelector(%q))`, selector))
}

// Picture keeps a picture of the whole page where PicturesEnv says.
func (b *Tab) Picture(name string) {
	b.T.Helper()
	dir := os.Getenv(PicturesEnv)
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.Ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.T.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.T.Fatal(err)
	}
}

// GiveAuthenticator gives a browser a device for passkeys that verifies its user.
func GiveAuthenticator(page context.Context) error {
	return chromedp.Do(page, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		if _, err := cdp.Call(ctx, target, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, target, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: "ctap2", Transport: "internal", HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
		return err
	}))
}
