package web

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
	"github.com/moltworker/moltworker/internal/blob"
)

// A person hears in one line how safe an agent is.
func TestHowSafeAnAgentIs(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 10, 0, 0, time.Local)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		status safekeeper.Status
		want   string
	}{
		{safekeeper.Status{State: safekeeper.StateSafe, LastSafe: ago(time.Hour)}, "Safe: everything up to now is kept."},
		{safekeeper.Status{State: safekeeper.StateChanged, LastSafe: ago(30 * time.Second)}, "Something changed; it is kept within seconds. Until then, everything up to 30 s ago is kept."},
		{safekeeper.Status{State: safekeeper.StateSaving, LastSafe: ago(30 * time.Second)}, "A version is being made; everything up to 30 s ago is kept."},
		{safekeeper.Status{State: safekeeper.StateBehind, Since: ago(7 * time.Minute), LastSafe: ago(8 * time.Minute), RetryAt: now.Add(8 * time.Second)}, "Behind since 12:03; everything up to 8 min ago is kept. It is tried again in 8.0 s."},
		{safekeeper.Status{State: safekeeper.StateBehind, Since: ago(48 * time.Hour)}, "Behind since 2026-05-02 12:10; nothing is kept yet. It is tried again right now."},
		{safekeeper.Status{State: safekeeper.StateBehind, Since: ago(time.Hour), RetryAt: ago(time.Second)}, "Behind since 11:10; nothing is kept yet. It is tried again at once."},
		{safekeeper.Status{State: safekeeper.StateFenced, Since: ago(time.Hour), Last: &backup.Version{Time: ago(2 * time.Hour)}}, "Another machine makes its versions since 11:10; everything up to 2 h ago is kept."},
		{safekeeper.Status{State: safekeeper.StateStarting}, "Its state is being looked at; nothing is kept yet."},
	} {
		if got := safeWords(admin.AgentBackup{Status: c.status}, now); got != c.want {
			t.Errorf("%s: %q, want %q", c.status.State, got, c.want)
		}
	}
}

// The page says what is the matter with the backup, in every state, and what to do.
func TestStorageInEveryState(t *testing.T) {
	for state, c := range map[string]struct {
		change func(*admin.BackupOverview)
		wants  []string
		never  string
	}{
		"ready":            {func(*admin.BackupOverview) {}, []string{"within seconds of every change", "No recovery key", "off this machine", "Versions of main"}, "broken disk"},
		"on the same disk": {func(o *admin.BackupOverview) { o.OffMachine = false }, []string{"a broken disk takes both", "<code>R2_ACCESS_KEY_ID</code>", "<code>MOLTWORKER_BACKUP</code>"}, ""},
		"off":              {func(o *admin.BackupOverview) { o.State, o.Missing = admin.BackupOff, []string{"R2_BUCKET_NAME"} }, []string{"not configured", "<code>R2_BUCKET_NAME</code>"}, "Backup Now"},
		"away": {func(o *admin.BackupOverview) {
			o.State, o.Error, o.Remedy = admin.BackupAway, "dial tcp: no route", "check `ping`"
		}, []string{"cannot be reached", "dial tcp: no route", "<code>ping</code>"}, ""},
		"locked":   {func(o *admin.BackupOverview) { o.State = admin.BackupLocked }, []string{`action="/_admin/storage/unlock"`, "no key to it"}, "Versions of"},
		"failed":   {func(o *admin.BackupOverview) { o.State, o.Error = admin.BackupFailed, "it is full" }, []string{"It needs you", "it is full"}, ""},
		"starting": {func(o *admin.BackupOverview) { o.State = admin.BackupStarting }, []string{"is starting"}, ""},
	} {
		w := serve(t, full(usual))
		w.plane.backups.Set(c.change)
		resp, body := fetch(t, http.DefaultClient, w.url+"/_admin/storage")
		for _, want := range c.wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page does not say %q", state, want)
			}
		}
		if c.never != "" && strings.Contains(body, c.never) || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, or the page says %q", state, resp.Status, c.never)
		}
		if _, body := fetch(t, http.DefaultClient, w.url+"/_admin/"); !strings.Contains(body, `href="/_admin/storage?agent=main"`) {
			t.Errorf("%s: the overview says nothing of it", state)
		}
	}
}

// A fenced agent, one that is behind, one whose drill failed, and damage are seen.
func TestTroubleIsSeen(t *testing.T) {
	w := serve(t, full(usual))
	b, ctx := w.plane.backups, t.Context()
	b.Damage("second", backup.Damage{Object: "p/<b>07", Why: "it is cut", Versions: []string{"0000000000000001"}})
	_, _ = b.Verify(ctx, "second", true, func(string) {})
	_, _ = b.Drill(ctx, "second", func(string) {})
	b.Fence("main")
	b.Fail("Now", fmt.Errorf("put p/1: %w", blob.ErrUnavailable))
	b.Fail("Versions", fmt.Errorf("list: %w", blob.ErrUnavailable))
	_, body := fetch(t, http.DefaultClient, w.url+"/_admin/storage")
	for _, want := range []string{`action="/_admin/storage/claim"`, "stop moltworker on the other one first", "put p/1: the store is unavailable", "It is tried again at once",
		"1 damaged", "p/&lt;b&gt;07", "it is cut", `<dd class="bad">failed`, "The list is not to be had right now"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if _, body = fetch(t, http.DefaultClient, w.url+"/_admin/"); !strings.Contains(body, "drill failed") {
		t.Error("the overview says nothing of the drill")
	}
}

// names that a file of an agent may have.
var hostileNames = map[string]string{
	"markup":     `<img src=x onerror=alert(1)>`,
	"attributes": `" onmouseover="alert(1)`,
	"a URL":      `javascript:alert(1)`,
	"a query":    `a?b=c&d=e#f%2e%00+`,
	"templates":  `{{.}}${7*7}`,
	"terminal":   "\x1b]0;x\x07\x1b[2J",
	"lines":      "two\r\nlines",
	"bytes":      "\xff\xfe\x80",
	"bidi":       "\u202egnp.exe",
	"unseen":     "a\u200b\u2066b",
	"long":       strings.Repeat("x", 255),
	"dots":       "...",
	"nothing":    " ",
}

// Whatever files are called, they are shown as text and found again by their bytes.
func TestHostileFileNames(t *testing.T) {
	for what, name := range hostileNames {
		t.Run(what, func(t *testing.T) {
			b := admintest.NewBackups(time.Now, "main")
			b.Write("main", "d/"+name, "content of "+what)
			b.Write("main", "d/"+name+".d/inner", "inner")
			_, _ = b.Now(t.Context(), "main", "change")
			b.Write("main", "d/"+name, "other content")
			_, _ = b.Now(t.Context(), "main", "change")
			w := serve(t, &fakePlane{backups: b})
			for _, path := range []string{"version?agent=main&version=1&dir=d", "diff?agent=main&from=1&to=2", "restore?agent=main&version=1&only=" + url.QueryEscape("d/"+name)} {
				resp, body := fetch(t, http.DefaultClient, w.url+"/_admin/storage/"+path)
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("%s: %s", path, resp.Status)
				}
				for _, bad := range []string{"<img", `" onmouseover`, "\x1b", "\x07", "\u202e", "\u200b", "\u2066", "\xff", "ZgotmplZ"} {
					if strings.Contains(body, bad) {
						t.Errorf("%s: %q came through", path, bad)
					}
				}
				if found := inline.FindString(strings.ReplaceAll(body, "javascript:alert", "")); found != "" {
					t.Errorf("%s: %q", path, found)
				}
			}
			_, body := fetch(t, http.DefaultClient, w.url+"/_admin/storage/version?agent=main&version=1&dir=d")
			got, header := follow(t, w, body, `href="(/_admin/storage/file\?[^"]*)"`)
			if got != "content of "+what || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment;") || header.Get("X-Content-Type-Options") != "nosniff" ||
				header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("its link leads to %q %v", got, header)
			}
			inner, _ := follow(t, w, body, `href="(/_admin/storage/version\?[^"]*dir=d%2F[^"]*)"`)
			if !strings.Contains(inner, ">inner</a>") {
				t.Error("its directory is not found")
			}
			ask, _ := follow(t, w, body, `href="(/_admin/storage/restore\?[^"]*only=d%2F[^"]*)"`)
			only := html.UnescapeString(regexp.MustCompile(`name="only" value="([^"]*)"`).FindStringSubmatch(ask)[1])
			if path, err := admin.Unescaped("", only); err != nil || path != "d/"+name && path != "d/"+name+".d" {
				t.Errorf("it would restore %q, %v", path, err)
			}
		})
	}
}

// follow goes where the first link of a kind leads.
func follow(t *testing.T, w *world, body, link string) (string, http.Header) {
	t.Helper()
	m := regexp.MustCompile(link).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no %s in\n%s", link, body)
	}
	resp, text := fetch(t, http.DefaultClient, w.url+html.UnescapeString(m[1]))
	return text, resp.Header
}

// A file or an archive that breaks off does not pass for a whole one.
func TestDownloadsBreakOff(t *testing.T) {
	w := serve(t, full(usual))
	form := url.Values{"proof": {testProof}, "agent": {"main"}, "version": {"0000000000000001"}}
	resp, err := http.PostForm(w.url+"/_admin/storage/export", form)
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, resp); !strings.HasPrefix(body, "archive of main") || resp.Header.Get("Content-Disposition") != "attachment; filename=main-1.tar.gz" {
		t.Errorf("%v %q", resp.Header, body)
	}
	shieldedFile(t, resp.Header)
	w.plane.backups.Fail("Export", errors.New("the store is gone"))
	if resp, err = http.PostForm(w.url+"/_admin/storage/export", form); err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the export ends as if it were whole")
	}
	w.plane.backups.Fail("File", errors.New("the store is gone"))
	if resp, err = http.Get(w.url + "/_admin/storage/file?agent=main&version=0000000000000001&path=.openclaw/workspace/MEMORY.md"); err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the file ends as if it were whole")
	}
}

func shieldedFile(t *testing.T, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Cross-Origin-Resource-Policy": "same-origin", "Content-Type": "application/octet-stream"} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// A secret key is on one page, once.
func TestASecretKeyIsShownOnce(t *testing.T) {
	w := serve(t, full(usual))
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	resp, err := browser.PostForm(w.url+"/_admin/storage/keys/new", url.Values{"proof": {testProof}, "name": {"safe <b>"}})
	if err != nil {
		t.Fatal(err)
	}
	body := read(t, resp)
	secret := regexp.MustCompile(`AGE-SECRET-KEY-1[A-Z0-9]+`).FindString(body)
	if secret == "" || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Set-Cookie") != "" || strings.Contains(body, "safe <b>") {
		t.Fatalf("%s %v\n%s", resp.Status, resp.Header, body)
	}
	for _, path := range allPages {
		if _, body := fetch(t, browser, w.url+path); strings.Contains(body, secret) {
			t.Errorf("%s shows it again", path)
		}
	}
	if _, body := fetch(t, browser, w.url+"/_admin/storage"); !strings.Contains(body, "safe &lt;b&gt;") || strings.Contains(body, "No recovery key") {
		t.Error("the new key is not listed")
	}
}

// One sees how far something is, begins nothing beside it, and hears how it ended even
// when the browser did not wait.
func TestWorkIsFollowed(t *testing.T) {
	w := serve(t, full(usual))
	w.site.patient = time.Millisecond
	steps := make(chan struct{})
	w.plane.backups.Step(steps)
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	press := func(verb string) string {
		resp, err := browser.PostForm(w.url+"/_admin/storage/"+verb, url.Values{"proof": {testProof}, "agent": {"main"}})
		if err != nil {
			t.Fatal(err)
		}
		return read(t, resp)
	}
	stream, err := http.Get(w.url + "/_admin/events?on=storage")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if !strings.Contains(press("drill"), "still under way") {
		t.Error("nobody says that it is under way")
	}
	steps <- struct{}{}
	for range 2 {
		for {
			if _, body := fetch(t, browser, w.url+"/_admin/part/storage"); strings.Contains(body, "<b>Trying a restore</b>: looking at every database") {
				break
			} else if t.Context().Err() != nil {
				t.Fatal(body)
			}
		}
	}
	if !strings.Contains(press("prune"), "Something is under way") {
		t.Error("something else was begun beside it")
	}
	steps <- struct{}{}
	steps <- struct{}{}
	for range maxDoing { // it has ended
		w.site.doing <- struct{}{}
	}
	if _, body := fetch(t, browser, w.url+"/_admin/storage"); !strings.Contains(body, "<b>Trying a restore</b> is done just now: Version 2 was restored") {
		t.Error("nobody says how it ended")
	}
	if !strings.Contains(press("prune"), "Too much is under way") {
		t.Error("more is begun than is allowed")
	}
	if j := w.site.work.of("main", time.Now()); j == nil || j.Ended.IsZero() || !j.Bad {
		t.Errorf("what was not begun goes on: %+v", j)
	}
}

// Lists are read again when there is something new, and not with every event.
func TestTheShelf(t *testing.T) {
	b := admintest.NewBackups(time.Now, "main")
	asked := 0
	now := testNow
	w := serveThe(t, counting{&fakePlane{backups: b}, &asked}, &fakeTrail{})
	w.site.Now = func() time.Time { return now }
	for i := range 120 {
		b.Write("main", "a", fmt.Sprint(i))
		_, _ = b.Now(t.Context(), "main", "change")
	}
	for range 5 {
		fetch(t, http.DefaultClient, w.url+"/_admin/part/storage")
	}
	if asked != 1 {
		t.Errorf("read %d times", asked)
	}
	now = now.Add(2 * shelfLife)
	seen := map[string]bool{}
	for path, pages := "/_admin/storage?agent=main", 0; path != "" && pages < 9; pages++ {
		_, body := fetch(t, http.DefaultClient, w.url+path)
		for _, m := range regexp.MustCompile(`restore\?agent=main&amp;version=([0-9a-f]{16})`).FindAllStringSubmatch(body, -1) {
			seen[m[1]] = true
		}
		path = ""
		if m := regexp.MustCompile(`href="([^"]*)#versions">Older`).FindStringSubmatch(body); m != nil {
			path = html.UnescapeString(m[1])
		}
	}
	if len(seen) != 120 || asked != 2 {
		t.Errorf("%d versions on all pages, read %d times", len(seen), asked)
	}
}

// counting counts how often versions are read.
type counting struct {
	*fakePlane
	asked *int
}

func (c counting) BackupVersions(ctx context.Context, name string) ([]backup.Version, error) {
	*c.asked++
	return c.fakePlane.BackupVersions(ctx, name)
}

func TestTheDaysFitTheirDrawing(t *testing.T) {
	now := time.Date(2026, 11, 2, 0, 30, 0, 0, time.Local)
	at := func(days, hours int, stored int64) backup.Version {
		return backup.Version{Time: now.AddDate(0, 0, -days).Add(-time.Duration(hours) * time.Hour), Stats: backup.Stats{Stored: stored}}
	}
	d := daysOf([]backup.Version{at(0, 0, 100), at(0, 0, 300), at(1, 0, 1), at(29, 0, 400), at(31, 0, 9999), at(-2, 0, 9999), at(2, 0, -5)}, now)
	if d == nil || len(d.Bars) != 4 || d.Total != 801 {
		t.Fatalf("%+v", d)
	}
	for _, b := range d.Bars {
		if b.X < 0 || b.X > float64(d.Width) || b.Y < 0 || b.Height < leastDay || b.Y+b.Height != daysHeight {
			t.Errorf("%+v", b)
		}
	}
	if d.Bars[0].Height != daysHeight || !strings.HasPrefix(d.Bars[3].Title, "2 November: 400 B stored by 2 versions") {
		t.Errorf("%+v", d.Bars)
	}
	if daysOf(nil, now) != nil || daysOf([]backup.Version{at(40, 0, 1)}, now) != nil {
		t.Error("a drawing of nothing")
	}
}
