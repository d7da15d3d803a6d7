package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
)

// evilName is a name that a file of an agent may have.
const evilName = "<img src=x>\x1b[31m\xff\u202egnp.exe"

// filled is a backup with two versions of main.
func filled() *admintest.Backups {
	b := admintest.NewBackups(time.Now, "main", "research")
	b.Opens("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX")
	b.Write("main", ".openclaw/openclaw.json", "{}")
	b.Write("main", "notes/a.txt", "one")
	b.Write("main", "notes/"+evilName, "two")
	b.Link("main", "notes/link", "/etc/passwd")
	_, _ = b.Now(context.Background(), "main", "change")
	b.Write("main", "notes/a.txt", "more than one")
	_, _ = b.Now(context.Background(), "main", "change")
	return b
}

const (
	mainPath = "/api/admin/agents/main"
	v1       = mainPath + "/versions/1"
)

// backupStories are requests and what their answers' statuses are.
var backupStories = []story{
	{"GET /api/admin/backup", "/api/admin/backup", "", 200},
	{"POST /api/admin/agents/{agent}/backup", mainPath + "/backup", "", 200},
	{"POST /api/admin/agents/{agent}/backup", "/api/admin/agents/nobody/backup", "", 404},
	{"POST /api/admin/agents/{agent}/backup", "/api/admin/agents/..%2f/backup", "", 400},
	{"GET /api/admin/agents/{agent}/versions", mainPath + "/versions", "", 200},
	{"GET /api/admin/agents/{agent}/versions/{version}/contents", v1 + "/contents", "", 200},
	{"GET /api/admin/agents/{agent}/versions/{version}/contents", v1 + "/contents?dir=notes", "", 200},
	{"GET /api/admin/agents/{agent}/versions/{version}/contents", v1 + "/contents?dir=nowhere", "", 404},
	{"GET /api/admin/agents/{agent}/versions/{version}/contents", mainPath + "/versions/77/contents", "", 404},
	{"GET /api/admin/agents/{agent}/versions/{version}/parts", mainPath + "/versions/latest/parts", "", 200},
	{"GET /api/admin/agents/{agent}/versions/{version}/file", v1 + "/file?path=notes/a.txt", "", 200},
	{"GET /api/admin/agents/{agent}/versions/{version}/file", v1 + "/file?path=../../etc/passwd", "", 400},
	{"GET /api/admin/agents/{agent}/versions/{version}/file", v1 + "/file?path=/etc/passwd", "", 400},
	{"GET /api/admin/agents/{agent}/versions/{version}/file", v1 + "/file?path=notes/link", "", 404},
	{"GET /api/admin/agents/{agent}/diff", mainPath + "/diff?from=1&to=latest", "", 200},
	{"GET /api/admin/agents/{agent}/diff", mainPath + "/diff?from=1&to=no", "", 400},
	{"POST /api/admin/agents/{agent}/verify", mainPath + "/verify", `{"full":true}`, 200},
	{"POST /api/admin/agents/{agent}/verify", mainPath + "/verify", `[]`, 400},
	{"POST /api/admin/agents/{agent}/drill", mainPath + "/drill", "", 200},
	{"POST /api/admin/agents/{agent}/repair", mainPath + "/repair", "", 200},
	{"POST /api/admin/agents/{agent}/prune", mainPath + "/prune", "", 200},
	{"POST /api/admin/agents/{agent}/claim", mainPath + "/claim", "", 200},
	{"POST /api/admin/agents/{agent}/restore", mainPath + "/restore", `{"version":"1","only":["notes"]}`, 200},
	{"POST /api/admin/agents/{agent}/restore", mainPath + "/restore", `{"version":"1","as":"second"}`, 200},
	{"POST /api/admin/agents/{agent}/restore", mainPath + "/restore", `{"version":"1","as":"second"}`, 200}, // a last line with an error
	{"POST /api/admin/agents/{agent}/restore", mainPath + "/restore", `{"version":"99"}`, 404},
	{"POST /api/admin/agents/{agent}/restore", mainPath + "/restore", `{"version":"1","as":"A/B"}`, 400},
	{"POST /api/admin/agents/{agent}/import", "/api/admin/agents/moved/import", `{"from":"/home/x/agent"}`, 200},
	{"POST /api/admin/agents/{agent}/import", "/api/admin/agents/moved/import", `{"from":"agent"}`, 400},
	{"GET /api/admin/agents/{agent}/export", mainPath + "/export", "", 200},
	{"GET /api/admin/agents/{agent}/export", mainPath + "/export?recipient=passphrase%3Aabc", "", 400},
	{"POST /api/admin/agents/{agent}/export", mainPath + "/export", `{"recipient":"passphrase:six words of no sense at all"}`, 200},
	{"GET /api/admin/backup/keys", "/api/admin/backup/keys", "", 200},
	{"POST /api/admin/backup/keys", "/api/admin/backup/keys", `{"name":"safe","recipient":"passphrase:six words of no sense at all"}`, 201},
	{"POST /api/admin/backup/keys", "/api/admin/backup/keys", `{"name":"safe","recipient":"nonsense"}`, 400},
	{"POST /api/admin/backup/keys/new", "/api/admin/backup/keys/new", `{"name":"office"}`, 201},
	{"DELETE /api/admin/backup/keys/{id}", "/api/admin/backup/keys/00000000000000bc", "", 204},
	{"DELETE /api/admin/backup/keys/{id}", "/api/admin/backup/keys/00000000000000aa", "", 409}, // ours
	{"DELETE /api/admin/backup/keys/{id}", "/api/admin/backup/keys/x", "", 404},
	{"POST /api/admin/backup/unlock", "/api/admin/backup/unlock", `{"key":"AGE-SECRET-KEY-1NOT-A-KEY"}`, 400},
	{"POST /api/admin/backup/unlock", "/api/admin/backup/unlock", `{"key":"passphrase:a wrong one"}`, 409},
}

// serveBackups is the API in front of a backup, over HTTP.
func serveBackups(t *testing.T, who access.Principal) (*admintest.Backups, *admintest.World, string) {
	t.Helper()
	b := filled()
	w := admintest.New(t, func(o *admin.Options) { o.Backups = b })
	h := Handler(w.Plane, slog.New(slog.DiscardHandler))
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(rw, r.WithContext(access.With(r.Context(), who, access.Place{})))
	}))
	t.Cleanup(srv.Close)
	return b, w, srv.URL
}

var owner = access.Principal{Kind: access.KindOwner, Via: access.ViaSocket}

func send(t *testing.T, method, url, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &http.Response{}, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// A file of an agent is kept by a browser, never shown, and under a name that does no
// harm; its own name's bytes come through the list.
func TestAFileOfAVersionIsKept(t *testing.T) {
	_, w, at := serveBackups(t, owner)
	_, text, err := send(t, "GET", at+v1+"/contents?dir=notes", "")
	if err != nil {
		t.Fatal(err)
	}
	var found Contents
	if err := json.Unmarshal([]byte(text), &found); err != nil || found.Total != 3 {
		t.Fatalf("%s, %v", text, err)
	}
	path := ""
	for _, e := range found.Entries {
		if e.Escaped != "" {
			path = e.Escaped
		}
	}
	if raw, err := url.QueryUnescape(path); err != nil || raw != "notes/"+evilName {
		t.Fatalf("the list has %q for it, %v", path, err)
	}
	resp, body, err := send(t, "GET", at+v1+"/file?path="+path, "")
	if err != nil || body != "two" || resp.ContentLength != 3 {
		t.Fatalf("%q, %v", body, err)
	}
	for name, want := range map[string]string{"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; sandbox"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if got := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment; filename=") || strings.ContainsAny(got, "<>\x1b\u202e/") || strings.Contains(got, "\xff") {
		t.Errorf("it would be kept as %q", got)
	}
	list, err := w.Audit(admintest.Owner(t.Context()), audit.Filter{Action: "backup.read"})
	if err != nil || len(list) != 1 || list[0].Agent != "main" || list[0].Actor != "owner" {
		t.Errorf("recorded %+v, %v", list, err)
	}
}

// What breaks off in the middle must not pass for a whole one.
func TestWhatBreaksOffIsAborted(t *testing.T) {
	b, _, at := serveBackups(t, owner)
	for _, c := range []struct{ method, call, request string }{
		{"File", "GET", v1 + "/file?path=notes/a.txt"}, {"Export", "GET", mainPath + "/export"}, {"Export", "POST", mainPath + "/export"},
	} {
		b.Fail(c.method, errors.New("the store has something else there"))
		if _, body, err := send(t, c.call, at+c.request, ""); err == nil {
			t.Errorf("%s %s ends as if it were whole: %q", c.call, c.request, body)
		}
	}
	// What cannot begin is refused in words.
	for _, request := range []string{v1 + "/file?path=nothing", mainPath + "/export?version=99"} {
		if resp, body, err := send(t, "GET", at+request, ""); err != nil || resp.StatusCode != 404 || !strings.Contains(body, `"type":"not_found"`) {
			t.Errorf("%s: %d %s, %v", request, resp.StatusCode, body, err)
		}
	}
}

// Something long tells how far it is, and its end says what it came to, also when it
// failed after it began.
func TestSomethingLongTellsItsSteps(t *testing.T) {
	b, _, at := serveBackups(t, owner)
	resp, body, err := send(t, "POST", at+mainPath+"/drill", "")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if err != nil || resp.Header.Get("Content-Type") != "application/x-ndjson" || len(lines) != 4 ||
		lines[2] != `{"progress":"booting OpenClaw"}` || !strings.Contains(lines[3], `{"result":{`) {
		t.Fatalf("%v\n%s", err, body)
	}
	b.Fail("Verify", backup.ErrDamaged)
	_, body, err = send(t, "POST", at+mainPath+"/verify", "")
	if err != nil || !strings.Contains(body, `{"error":{"type":"damaged"`) || !strings.Contains(body, `"status":502}`) {
		t.Errorf("%v\n%s", err, body)
	}
	if strings.Contains(body, `"result"`) {
		t.Error("it failed with a result")
	}
}

// What says nothing for long repeats what it said last.
func TestSilenceIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, wait := httptest.NewRecorder(), make(chan struct{})
		b := filled()
		b.Step(wait)
		over := make(chan error)
		go func() {
			over <- long(&routes{log: slog.New(slog.DiscardHandler)}, w, httptest.NewRequestWithContext(t.Context(), "POST", "/", nil),
				func(ctx context.Context, tell func(string)) (admin.Drill, error) { return b.Drill(ctx, "main", tell) })
		}()
		time.Sleep(2*pulse + time.Second)
		for range 3 {
			wait <- struct{}{}
		}
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(w.Body.String(), "restoring version"); n != 3 {
			t.Errorf("said %d times:\n%s", n, w.Body)
		}
	})
}

// Secrets are in the answer that gives them, once; never in a refusal or a record.
func TestKeysAreToldOnce(t *testing.T) {
	_, w, at := serveBackups(t, owner)
	resp, body, err := send(t, "POST", at+"/api/admin/backup/keys/new", `{"name":"safe"}`)
	var made NewKey
	if err != nil || json.Unmarshal([]byte(body), &made) != nil || !strings.HasPrefix(made.Secret, "AGE-SECRET-KEY-1") || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%v %s", err, body)
	}
	told := ""
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/api/admin/backup/keys", ""}, {"GET", "/api/admin/backup", ""},
		{"POST", "/api/admin/backup/unlock", `{"key":"` + made.Secret + `x"}`},
		{"POST", "/api/admin/backup/unlock", `{"key":"` + made.Secret}, // not JSON
		{"POST", "/api/admin/backup/keys", `{"name":"n","recipient":"` + made.Secret + `"}`},
		{"POST", "/api/admin/backup/unlock", `{"key":"` + made.Secret + `"}`},
	} {
		_, body, err := send(t, c.method, at+c.path, c.body)
		if err != nil {
			t.Fatal(err)
		}
		told += body
	}
	list, err := w.Audit(admintest.Owner(t.Context()), audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	record, _ := json.Marshal(list)
	for _, text := range []string{told, string(record)} {
		if strings.Contains(text, made.Secret[:30]) {
			t.Errorf("it is told again: %s", text)
		}
	}
	if !strings.Contains(string(record), "backup.key.add") || !strings.Contains(string(record), "backup.unlock") {
		t.Errorf("recorded %s", record)
	}
}

// Bodies are bounded.
func TestOrdersAreBounded(t *testing.T) {
	_, _, at := serveBackups(t, owner)
	for _, path := range []string{mainPath + "/restore", mainPath + "/verify", mainPath + "/export", "/api/admin/agents/x/import", "/api/admin/backup/unlock", "/api/admin/backup/keys", "/api/admin/backup/keys/new"} {
		resp, body, err := send(t, "POST", at+path, `{"name":"`+strings.Repeat("x", maxOrder)+`"}`)
		if err == nil && resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d %.100s", path, resp.StatusCode, body)
		}
	}
}

// Who came in by the web names no path of this machine.
func TestPathsOfTheMachineAreTheOwners(t *testing.T) {
	for _, c := range []struct {
		who  access.Principal
		from string
		want int
	}{
		{owner, "/srv/agent", 200},
		{access.Principal{Kind: access.KindPerson, Name: "ann"}, "/srv/agent", 403},
		{access.Principal{Kind: access.KindPerson, Name: "ann"}, "r2:", 200},
		{access.Principal{Kind: access.KindService, Name: "ci", Scopes: []access.Scope{access.Everything}}, "/srv/agent", 403},
		{access.Principal{Kind: access.KindService, Name: "ci", Scopes: []access.Scope{access.WriteAgents}}, "r2:", 403},
	} {
		_, _, at := serveBackups(t, c.who)
		resp, body, err := send(t, "POST", at+"/api/admin/agents/moved/import", `{"from":"`+c.from+`"}`)
		if err != nil || resp.StatusCode != c.want {
			t.Errorf("%s from %s: %d %s, %v", c.who, c.from, resp.StatusCode, body, err)
		}
	}
}
