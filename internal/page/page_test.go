package page

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/access"
)

const hostile = `"><script>alert(1)</script>{{.}}' onload=x `

func TestPageShowsNothingHostileAsMarkup(t *testing.T) {
	files := fstest.MapFS{
		"mine.html": {Data: []byte(`<h1>{{.Data}}</h1><form>{{template "proof" $}}</form><script src="{{asset "mine.js"}}"></script>`)},
		"mine.js":   {Data: []byte(`"use strict"`)},
	}
	set := NewSet(files, "*.html")
	r := httptest.NewRequest("GET", "/_admin/", nil)
	r = r.WithContext(access.With(r.Context(), access.Principal{Kind: access.KindPerson, Name: hostile, Via: access.ViaPasskey}, access.Place{}))
	w := httptest.NewRecorder()
	set.Write(w, r, http.StatusOK, "mine.html", View{Title: hostile, Data: hostile})
	if body := w.Body.String(); strings.Contains(body, "<script>alert") || strings.Contains(body, "' onload") {
		t.Errorf("markup came through:\n%s", body)
	}
	if got := w.Header().Get("Content-Security-Policy"); got != policy {
		t.Errorf("policy is %q", got)
	}
	// Its own script is served beside the layout's.
	src := strings.Split(strings.Split(w.Body.String(), `/_admin/static/mine.`)[1], `"`)[0]
	for _, path := range []string{"/_admin/static/mine." + src, house()["htmx.min.js"].path} {
		w = httptest.NewRecorder()
		Static(files).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"usual text, 日本語 👩‍💻", 100, "usual text, 日本語 👩‍💻"},
		{"\x1b[31mred\x1b[0m \x1b]0;title\x07after \x1b]8;;x\x1b\\link\x1b", 100, "red after link"},
		{"two\r\nlines\tand \x00\x7f\u202eevil\u200b", 100, "two  lines and \ufffd\ufffd\ufffdevil\ufffd"},
		{"ääää", 5, "ää…"},
		{"\xff\xfe", 9, "\ufffd\ufffd"},
		{"\x80\x80\x80\x80\x80\x80\x80\x80", 6, "\ufffd\ufffd…"},
		{"", 0, ""},
	} {
		if got := Plain(c.in, c.max); got != c.want {
			t.Errorf("Plain(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	f.Add("\x1b[31mä\x1b]", 4)
	f.Fuzz(func(t *testing.T, text string, max int) {
		max &= 0xff
		got := Plain(text, max)
		if !utf8.ValidString(got) || strings.IndexFunc(got, unruly) >= 0 || strings.ContainsAny(got, "\n\r\t") {
			t.Errorf("Plain(%q) = %q", text, got)
		}
	})
}

func TestLong(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0.0 s", 940 * time.Millisecond: "0.9 s", 59 * time.Second: "59 s", 90 * time.Second: "1 min",
		3*time.Hour + 5*time.Minute: "3 h 5 min", 30 * time.Hour: "30 h", 200 * 24 * time.Hour: "200 d",
	} {
		if got := Long(d); got != want {
			t.Errorf("Long(%s) = %q, want %q", d, got, want)
		}
	}
}

// No file of ours makes a browser ask anybody else.
func TestFilesNameNoOtherHost(t *testing.T) {
	for name, a := range house() {
		if a.kind == "" || len(a.data) == 0 {
			t.Errorf("%s is not served as it should be", name)
		}
		text := strings.ReplaceAll(string(a.data), "http://www.w3.org/2000/svg", "") // the name of a language
		text = strings.TrimPrefix(text, "/*! https://github.com/leeoniya/uPlot (v1.6.32) */")
		for _, sign := range []string{"http:", "https:", "url(", "@import", "sourceMappingURL"} {
			if strings.Contains(text, sign) {
				t.Errorf("%s has %q in it", name, sign)
			}
		}
	}
	// Unknown files, directories, and other methods get nothing.
	for _, c := range []struct{ method, path string }{{"GET", "/_admin/static/"}, {"GET", "/_admin/static/style.css"}, {"GET", "/_admin/static/../page.go"}, {"POST", house()["style.css"].path}} {
		w := httptest.NewRecorder()
		Static().ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", c.method, c.path, w.Code)
		}
	}
}
