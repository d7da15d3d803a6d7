package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/test/browser"
)

// TestMainJob is the product's main job, from an empty data directory: start,
// open the Control UI with the link, be asked to pair, approve, chat, and see
// the agent act inside its sandbox and nowhere else.
func TestMainJob(t *testing.T) {
	u := startIn(t, t.TempDir(), hostCanary)
	link := u.link()
	page := browser.Open(t)
	countSockets(t, page)

	t.Run("the link works at once and shows the boot", func(t *testing.T) {
		do(t, page, chromedp.Navigate(link))
		awaitPage(t, page, patience, "a page", `document.title !== ""`)
		if got := at(t, page); strings.Contains(got, "token=") && !strings.Contains(got, "#") {
			t.Errorf("the token stays in the page's address: %s", redactToken(got))
		}
	})
	u.awaitAwake(0)

	t.Run("a second moltworker on the same data is refused", func(t *testing.T) {
		r := u.moltworker("up", "--listen", "127.0.0.1:0")
		if r.code != 5 || !strings.Contains(r.stderr, "is served by another") {
			t.Errorf("code %d: %s", r.code, r.stderr)
		}
	})

	t.Run("the page turns into the Control UI, which asks for approval", func(t *testing.T) {
		do(t, page, chromedp.Navigate(link))
		awaitPage(t, page, 2*patience, "the pairing state",
			`document.querySelector('.login-gate__failure')?.dataset.kind === 'pairing-required'`)
		shot(t, page, "pairing")
	})

	t.Run("approval over the admin RPC connects the page", func(t *testing.T) {
		request := pendingDevice(t, u)
		if r := u.moltworker("device", "approve", request); r.code != 0 {
			t.Fatalf("approve: code %d: %s", r.code, r.stderr)
		}
		awaitPage(t, page, 2*patience, "the composer", composer+` !== null`)
		shot(t, page, "connected")
	})

	t.Run("the demo model does the sum", func(t *testing.T) {
		say(t, page, "What is 847293 + 651824?")
		awaitPage(t, page, 3*patience, "the answer", `document.body.innerText.replaceAll(',', '').includes('1499117')`)
		shot(t, page, "answer")
	})

	t.Run("a tool call runs inside", func(t *testing.T) {
		const line = `echo kernel=$(uname -v | tr ' ' _) host=$(hostname) user=$(id -un)`
		call, _ := json.Marshal(map[string]string{"command": line})
		say(t, page, "/demo tool exec "+string(call))
		awaitPage(t, page, 3*patience, "the tool's output", `document.body.innerText.includes('host=moltworker user=agent')`)
		shot(t, page, "tool")
		kernel, err := os.ReadFile("/proc/version")
		if err != nil {
			t.Fatal(err)
		}
		if inside := u.inside("cat /proc/version"); strings.TrimSpace(inside) == strings.TrimSpace(string(kernel)) {
			t.Errorf("the agent runs on the host's own kernel: %s", inside)
		}
	})

	t.Run("the sandbox shows nothing of the host", func(t *testing.T) { probeInside(t, u) })
	if u = sleepAndGoOn(t, u, page); u == nil {
		return
	}
	t.Run("what is killed comes back", func(t *testing.T) { killAndReturn(t, u, page) })
}

// What the Control UI shows of a conversation.
const (
	composer = `document.querySelector('textarea[aria-label="Chat composer"]')`
	// settled: no run has been shown for three seconds of the page's own time.
	settled = `(() => {
		const now = Date.now(), busy = document.querySelector('.chat-send-btn--stop') !== null;
		if (busy || window.idleSince === undefined) window.idleSince = now;
		return ` + composer + ` !== null && now - window.idleSince > 3000;
	})()`
	// sent: nothing is left to be sent, neither written nor queued.
	sent = composer + `?.value.trim() === '' && document.querySelector('.chat-queue__item') === null`
)

// say types a message into the chat and sends it. A page that did not see a run
// end shows it forever and queues messages behind it; a person then takes the
// message back, reloads and says it again.
func say(t *testing.T, page context.Context, text string) {
	t.Helper()
	for range 4 {
		if !holds(page, 2*patience, settled) {
			t.Log("the page shows a run for longer than one lasts")
			do(t, page, chromedp.Reload())
			continue
		}
		do(t, page, chromedp.Focus(`textarea[aria-label="Chat composer"]`))
		if _, err := chromedp.Call(page, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
			t.Fatalf("browser: %v", err)
		}
		do(t, page, chromedp.Click(`.chat-send-btn--send:not([disabled])`))
		if holds(page, patience/4, sent) {
			return
		}
		t.Logf("the page queued %q", text)
		holds(page, 0, `document.querySelector('.chat-queue__remove')?.click() === undefined`)
		do(t, page, chromedp.Reload())
	}
	awaitPage(t, page, 0, "sending of "+strconv.Quote(text), "false")
}

// holds waits for a JavaScript condition and says whether it came to hold.
func holds(page context.Context, within time.Duration, condition string) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		if isSo(page, condition) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// isSo asks a page once, which may not answer.
func isSo(page context.Context, condition string) bool {
	ctx, cancel := context.WithTimeout(page, patience)
	defer cancel()
	ok, _ := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
	return ok
}

func do(t *testing.T, page context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(page, patience)
	defer cancel()
	if err := browser.Do(ctx, steps...); err != nil {
		t.Fatalf("browser: %v", err)
	}
}

// at is the address the page is at.
func at(t *testing.T, page context.Context) string {
	t.Helper()
	got, err := chromedp.Run(page, chromedp.Location())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// awaitPage waits until a JavaScript condition holds in the page.
func awaitPage(t *testing.T, page context.Context, within time.Duration, what, condition string) {
	t.Helper()
	if holds(page, within, condition) {
		return
	}
	text, err := chromedp.Run(page, chromedp.Evaluate[string](`document.body.innerText`))
	shot(t, page, "failed")
	t.Fatalf("no %s within %s (%v); the page says:\n%s", what, within, err, text)
}

// shot keeps a picture of the page where MOLTWORKER_TEST_SHOTS says.
func shot(t *testing.T, page context.Context, name string) {
	t.Helper()
	dir := os.Getenv("MOLTWORKER_TEST_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(page, chromedp.CaptureScreenshot())
	if err != nil {
		t.Logf("screenshot %s: %v", name, err)
		return
	}
	if err := os.WriteFile(fmt.Sprintf("%s/%s.png", dir, name), png, 0o600); err != nil {
		t.Log(err)
	}
}

func pendingDevice(t *testing.T, u *up) string {
	t.Helper()
	requests := waiting(t, u)
	if len(requests) != 1 {
		t.Fatalf("%d devices wait, want one", len(requests))
	}
	return requests[0]
}

// waiting are the requests of the devices that wait to be let in.
func waiting(t *testing.T, u *up) (requests []string) {
	t.Helper()
	var list struct {
		Pending []struct {
			RequestID string `json:"requestId"`
		} `json:"pending"`
	}
	r := u.moltworker("device", "ls", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || r.code != 0 {
		t.Fatalf("list devices: code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	for _, p := range list.Pending {
		requests = append(requests, p.RequestID)
	}
	return requests
}

func redactToken(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "?"
	}
	u.RawQuery, u.Fragment = "", ""
	return u.String()
}
