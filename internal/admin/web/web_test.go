package web

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
)

var allPages = []string{"/_admin/", "/_admin/agents", "/_admin/gateway", "/_admin/devices", "/_admin/logs", "/_admin/secrets", "/_admin/storage", "/_admin/audit",
	"/_admin/part/agents", "/_admin/part/roster", "/_admin/part/gateway", "/_admin/part/devices", "/_admin/part/audit", "/_admin/part/storage",
	"/_admin/storage?agent=research", "/_admin/storage/version?agent=main&version=latest", "/_admin/storage/version?agent=main&version=latest&dir=notes",
	"/_admin/storage/diff?agent=main&from=1&to=latest", "/_admin/storage/restore?agent=main&version=latest", "/_admin/storage/restore?agent=main&version=latest&only=notes", "/_admin/models", "/_admin/models?days=7&by=model",
	"/_admin/models?edit=daily", "/_admin/part/models", "/_admin/models/calls", "/_admin/part/calls", "/_admin/models/calls?agent=main&status=error", "/_admin/nowhere"}

func fetch(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return resp, read(t, resp)
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

var (
	elsewhere = regexp.MustCompile(`(?i)(src|href|action|hx-get|data-events)="(https?:|//)`)
	inline    = regexp.MustCompile(`(?i)<style|\sstyle="|\son[a-z]+="|<script>|javascript:`)
)

// Whatever agents, devices and channels call themselves, pages show it as text.
func TestEveryPageWithWhateverIsInIt(t *testing.T) {
	const evil = `<img src=x onerror=alert(1)>"'><script>alert(2)</script>` + "\x1b]0;x\x07\x00\u202e{{.}}${7*7}javascript:1"
	hostile := func(s string) string { return s + evil }
	for name, plane := range map[string]*fakePlane{"empty": {}, "full": full(usual), "hostile": full(hostile)} {
		w := serve(t, plane)
		if name != "empty" {
			says := usual
			if name == "hostile" {
				says = hostile
				w.who.Name = evil
			}
			w.trail.entries = recorded(120, says)
		}
		for _, path := range append(allPages, "/_admin/logs?filter="+url.QueryEscape(evil), "/_admin/devices?agent="+url.QueryEscape(evil), "/_admin/audit?action="+url.QueryEscape(evil)) {
			resp, body := fetch(t, http.DefaultClient, w.url+path)
			want := http.StatusOK
			if strings.HasSuffix(path, "nowhere") || name == "empty" && strings.Contains(path, "version=latest") || name == "empty" && strings.Contains(path, "/diff") {
				want = http.StatusNotFound
			}
			if resp.StatusCode != want {
				t.Errorf("%s %s: %s", name, path, resp.Status)
			}
			shielded(t, path, resp.Header)
			for _, bad := range []string{"<img", "<script>", "alert(2)</script>", "\x1b", "\x00", "\u202e"} {
				if strings.Contains(body, bad) {
					t.Errorf("%s %s: %q came through", name, path, bad)
				}
			}
			if found := elsewhere.FindString(body); found != "" {
				t.Errorf("%s %s asks another host: %s", name, path, found)
			}
			if found := inline.FindString(strings.ReplaceAll(body, "javascript:1", "")); found != "" {
				t.Errorf("%s %s has %q in it, which the policy forbids", name, path, found)
			}
			if strings.Count(body, `method="post"`) != strings.Count(body, `name="proof" value="the proof"`) {
				t.Errorf("%s %s: a form without proof", name, path)
			}
		}
	}
}

func shielded(t *testing.T, path string, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy":      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "strict-origin",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %s is %q", path, name, got)
		}
	}
}

// Somebody without JavaScript presses every button.
func TestButtonsWithoutJavaScript(t *testing.T) {
	for _, c := range []struct {
		path, form  string // "a=b&c=d"
		asked, says string
		to          string
	}{
		{"agents", "name=+new+", "create new", "Agent new is made.", "/_admin/agents"},
		{"agents/main/restart", "", "restart main", "The gateway of main is restarting.", "/_admin/"},
		{"agents/main/sleep", "from=agents", "sleep main", "main sleeps.", "/_admin/agents"},
		{"agents/main/wake", "from=gateway", "wake main", "main is awake.", "/_admin/gateway"},
		{"agents/main/wake", "from=//evil.example", "wake main", "main is awake.", "/_admin/"},
		{"agents/main/remove", "confirm=main", "remove main", "Agent main is removed.", "/_admin/agents"},
		{"agents/main/remove", "confirm=second", "", "has to be typed", "/_admin/agents"},
		{"devices/approve", "agent=main&request=r1", "approve main r1", "The device is approved.", "/_admin/devices?agent=main"},
		{"devices/approve-all", "agent=main", "approve all main", "All devices that waited", "/_admin/devices?agent=main"},
		{"devices/reject", "agent=main&request=r1", "reject main r1", "turned away", "/_admin/devices?agent=main"},
		{"devices/rename", "agent=main&device=d1&label=my+phone", "rename main d1 my phone", "new name", "/_admin/devices?agent=main"},
		{"devices/revoke", "agent=main&device=d1", "revoke main d1", "revoked", "/_admin/devices?agent=main"},
		{"senders/approve", "agent=main&request=s1&channel=telegram&account=default", "approve sender main telegram default s1", "approved", "/_admin/devices?agent=main"},
		{"senders/dismiss", "agent=main&request=s1&channel=telegram&account=default", "dismiss sender main telegram default s1", "turned away", "/_admin/devices?agent=main"},
		{"secrets/put", "name=A&value=+v+", "put A  v ", "A is sealed.", "/_admin/secrets"},
		{"secrets/remove", "name=A", "remove secret A", "A is removed.", "/_admin/secrets"},
		{"secrets/rotate", "agent=main", "rotate main", "The token of main is new.", "/_admin/secrets"},
		{"storage/sync", "", "sync", "The backup is made.", "/_admin/storage"},
		{"storage/now", "agent=main", "back up main", "main is kept as version 3.", "/_admin/storage?agent=main"},
		{"storage/verify", "agent=main", "verify main false", "All 2 versions can be restored, as far", "/_admin/storage?agent=main"},
		{"storage/verify-all", "agent=main", "verify main true", "every byte was read", "/_admin/storage?agent=main"},
		{"storage/drill", "agent=main", "drill main", "3 databases are whole", "/_admin/storage?agent=main"},
		{"storage/repair", "agent=main", "repair main", "nothing is lost", "/_admin/storage?agent=main"},
		{"storage/prune", "agent=main", "prune main", "2 versions are kept, 0 were let go of", "/_admin/storage?agent=main"},
		{"storage/claim", "agent=main&confirm=main", "claim main", "This machine makes the versions of main now.", "/_admin/storage?agent=main"},
		{"storage/claim", "agent=main&confirm=", "", "has to be typed", "/_admin/storage?agent=main"},
		{"storage/restore", "agent=main&version=1&how=in-place&confirm=main", "restore main 1 {As: Only:[]}", "Version 1 is restored as main. What was there is kept as version 3.", "/_admin/storage?agent=main"},
		{"storage/restore", "agent=main&version=1&how=in-place&confirm=mian", "", "has to be typed", "/_admin/storage?agent=main"},
		{"storage/restore", "agent=main&version=1&how=in-place&confirm=main&only=notes%252Fa%25FF", `restore main 1 {As: Only:[notes/a\xff]}`, "none of these paths", "/_admin/storage?agent=main"},
		{"storage/restore", "agent=main&version=1&how=new&as=+copy+&confirm=main", "restore main 1 {As:copy Only:[]}", "restored as a new agent, copy", "/_admin/storage?agent=main"},
		{"storage/restore", "agent=main&version=1&how=new", "", "needs a name", "/_admin/storage?agent=main"},
		{"storage/unlock", "key=k&kind=passphrase", "unlock passphrase:k", "The backup is unlocked.", "/_admin/storage"},
		{"storage/keys/add", "name=n&recipient=age1x", "add key n age1x", "n opens the backup now.", "/_admin/storage"},
		{"storage/keys/remove", "key=00000000000000aa", "remove key 00000000000000aa", "no longer", "/_admin/storage"},
		{"storage/nonsense", "agent=main", "", "no such page", "/_admin/storage/nonsense"},
		{"audit/verify", "", "", "not what was recorded", "/_admin/audit"},
	} {
		w := serve(t, full(usual))
		w.trail.report = audit.Report{Problems: []audit.Problem{{Seq: 3, Kind: audit.Altered, Detail: "<b>"}}}
		jar, _ := cookiejar.New(nil)
		browser := &http.Client{Jar: jar}
		form, _ := url.ParseQuery(c.form)
		form.Set("proof", testProof)
		resp, err := browser.PostForm(w.url+"/_admin/"+c.path, form)
		if err != nil {
			t.Fatal(err)
		}
		body := read(t, resp)
		want := http.StatusOK
		if strings.HasSuffix(c.path, "nonsense") {
			want = http.StatusNotFound
		}
		if got := resp.Request.URL.RequestURI(); resp.StatusCode != want || got != c.to {
			t.Errorf("%s ended at %s: %s", c.path, got, resp.Status)
		}
		if got := w.plane.did(); got != c.asked {
			t.Errorf("%s asked %q", c.path, got)
		}
		if !strings.Contains(body, c.says) {
			t.Errorf("%s did not say %q", c.path, c.says)
		}
		if _, body = fetch(t, browser, w.url+c.to); strings.Contains(body, `class="flash good" role`) || strings.Contains(body, `class="flash bad" role`) {
			t.Errorf("%s is said twice", c.path)
		}
	}
}

// What fails is said in the plane's words, and shown as text.
func TestAFailureIsSaid(t *testing.T) {
	w := serve(t, full(usual))
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	for _, c := range []struct {
		err         error
		says, never string
	}{
		{&admin.Error{Status: 404, Message: "there is <b>no</b> such device", Remedy: "try `moltworker device ls`"}, "there is &lt;b&gt;no&lt;/b&gt; such device", "<b>no"},
		{access.NotAllowed(access.Principal{Kind: access.KindService}, access.WriteDevices), "This needs the scope devices:write.", ""},
		{errors.New(strings.Repeat("ä", 5000)), "ää…", "\ufffd"},
	} {
		w.plane.fails(c.err)
		resp, err := browser.PostForm(w.url+"/_admin/devices/approve", url.Values{"proof": {testProof}, "agent": {"main"}, "request": {"r1"}})
		if err != nil {
			t.Fatal(err)
		}
		if body := read(t, resp); !strings.Contains(body, c.says) || c.never != "" && strings.Contains(body, c.never) {
			t.Errorf("%.60s: the page does not say %q", c.err, c.says)
		}
	}
}

// A flash is ours: nobody else puts words into our mouth.
func TestAForeignFlashIsNotShown(t *testing.T) {
	w := serve(t, full(usual))
	r, _ := http.NewRequest("GET", w.url+"/_admin/", nil)
	r.AddCookie(&http.Cookie{Name: "moltworker_said", Value: "eyJCYWQiOmZhbHNlLCJUZXh0IjoiZXZpbCJ9.AAAA"})
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(read(t, resp), "evil") {
		t.Error("it was shown")
	}
}

// Who leaves while an action takes long does not stop it, and who waits is told.
func TestALongActionGoesOn(t *testing.T) {
	w := serve(t, full(usual))
	w.plane.hold = make(chan struct{})
	w.site.patient = time.Millisecond
	jar, _ := cookiejar.New(nil)
	resp, err := (&http.Client{Jar: jar}).PostForm(w.url+"/_admin/agents/main/wake", url.Values{"proof": {testProof}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(read(t, resp), "still under way") {
		t.Error("nobody says that it is under way")
	}
	close(w.plane.hold)
	for range maxDoing { // all places are free again, in the end
		w.site.doing <- struct{}{}
	}
}

func TestOpenGoesToTheAgent(t *testing.T) {
	w := serve(t, full(usual))
	still := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	proof := url.Values{"proof": {testProof}}
	resp, err := still.PostForm(w.url+"/_admin/agents/main/open", proof)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, resp); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/?visit=main" {
		t.Errorf("its own host: %s %v", resp.Status, resp.Header)
	}
	elsewhere := strings.Replace(w.url, "127.0.0.1", "localhost", 1) + "/?token=once"
	if resp, err = still.PostForm(w.url+"/_admin/agents/second/open", proof); err != nil {
		t.Fatal(err)
	}
	body := read(t, resp)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Refresh") != "0; url="+elsewhere || !strings.Contains(body, `href="`+elsewhere+`"`) {
		t.Errorf("another host: %s %v", resp.Status, resp.Header)
	}
}

// A page hears of a change, and its stream ends with the server.
func TestEventsUntilTheServerStops(t *testing.T) {
	w := serve(t, full(usual))
	for _, c := range []struct {
		query, want string
		cause       func()
	}{
		{"on=agents", "event: agents", func() { w.plane.change(func([]admin.AgentInfo) {}) }},
		{"on=devices&agent=main", "event: devices", func() { w.plane.device <- struct{}{} }},
		{"on=storage", "event: storage", func() { w.plane.backups.Write("main", "notes/new", "x") }},
		{"on=overview", "event: agents", func() { w.plane.backups.Write("main", "notes/new", "y") }},
		{"on=log&agent=main", `"text":"\u003cb\u003enew"`, func() { w.plane.lines <- agent.LogEntry{Text: "<b>new"} }},
	} {
		resp, err := http.Get(w.url + "/_admin/events?" + c.query)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		shielded(t, c.query, resp.Header)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		lines.Scan() // the stream is there
		c.cause()
		found := false
		for !found && lines.Scan() {
			found = strings.Contains(lines.Text(), c.want)
		}
		if !found {
			t.Errorf("%s: no %s: %v", c.query, c.want, lines.Err())
		}
	}
	one, err := http.Get(w.url + "/_admin/events?on=agents")
	if err != nil {
		t.Fatal(err)
	}
	w.end()
	read(t, one) // ends
}

func TestStreamsAreBounded(t *testing.T) {
	s := streams{byWho: map[string]int{}}
	var leave []func()
	for range maxPerWho {
		out, ok := s.enter("ann")
		if !ok {
			t.Fatal("refused too early")
		}
		leave = append(leave, out)
	}
	if _, ok := s.enter("ann"); ok {
		t.Error("one too many of one caller")
	}
	if _, ok := s.enter("bob"); !ok {
		t.Error("one caller shuts another out")
	}
	for _, out := range leave {
		out()
	}
	if s.all != 1 || len(s.byWho) != 1 {
		t.Errorf("%d streams of %d callers are left", s.all, len(s.byWho))
	}
}

func TestAuditNeedsItsScope(t *testing.T) {
	w := serve(t, full(usual))
	w.who = access.Principal{Kind: access.KindService, Name: "ci", Scopes: []access.Scope{access.ReadAgents}, Proof: testProof}
	for _, path := range []string{"audit", "part/audit", "events?on=audit"} {
		if resp, _ := fetch(t, http.DefaultClient, w.url+"/_admin/"+path); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestAuditPages(t *testing.T) {
	w := serve(t, full(usual))
	w.trail.entries = recorded(120, usual)
	seen, next := 0, regexp.MustCompile(`href="(/_admin/audit\?[^"]*before=[^"]*)"`)
	pages := 0
	for path := "/_admin/audit"; path != ""; pages++ {
		_, body := fetch(t, http.DefaultClient, w.url+path)
		seen += strings.Count(body, "<b>device.approve</b>")
		path = ""
		if m := next.FindStringSubmatch(body); m != nil && pages < 5 {
			path = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	if seen != 30 || pages != 3 { // of 120 entries, 50 a page, each fourth is one
		t.Errorf("%d entries on %d pages, want 30 on 3", seen, pages)
	}
}

func TestTheTimelineFillsItsWidth(t *testing.T) {
	for _, history := range [][]agent.Past{
		{{State: agent.StateBooting, Took: time.Second}},
		{{State: agent.StateBooting, Took: 0}, {State: agent.StateAwake, Took: 1000 * time.Hour}, {State: agent.StateAsleep, Took: -time.Second}},
	} {
		line := drawn(agent.Status{State: agent.StateAsleep, Since: testNow, History: history}, testNow)
		var sum float64
		for _, b := range line.Bars {
			if sum += b.Width; b.Width < leastBar {
				t.Errorf("%v is not to be seen", b)
			}
		}
		if sum < lineWidth-1 || sum > lineWidth+1 {
			t.Errorf("the bars are %f wide", sum)
		}
	}
	if drawn(agent.Status{State: agent.StateAwake, Since: testNow}, testNow) != nil {
		t.Error("a line without a past")
	}
}
