// Package page owns how the control plane's own pages look and what browsers are
// told about them: the layout, the style sheet, the scripts, the security headers,
// and the short message that an action leaves for the page after it.
//
// It must not know what the pages are about: those who own them (sign-in, the
// admin pages) bring templates and data. Everything works without JavaScript;
// nothing is ever fetched from another host.
//
// A page's template sees a [Scene]. A form of it looks like this:
//
//	<form method="post" action="/_admin/...">{{template "proof" $}}...</form>
package page

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

//go:embed base
var base embed.FS

// A View is what one answer shows.
type View struct {
	Title string // of the page, as text
	Area  string // which entry of the navigation is the current one, "" for none
	Plain bool   // without navigation, on a card: pages of somebody who is not signed in
	Data  any    // for the page's own template
}

// A Scene is what templates see: the view, and who is looking.
type Scene struct {
	View
	Who   access.Principal
	Proof string // of our own pages, against requests that other pages caused
	Flash *Flash // what the last action has to say
	Now   time.Time
	Body  template.HTML // the page's own part, for the layout alone
}

// Set is templates together with the layout.
type Set struct {
	own, layout *template.Template
}

// NewSet parses the templates that the patterns name in files, together with the
// layout's. A template is named by its file, as "overview.html". Template function
// "asset" names scripts of [Static] and of files alike. It panics on a mistake in
// them, as they are part of the program.
func NewSet(files fs.FS, patterns ...string) *Set {
	own := assetsOf(files)
	funcs := template.FuncMap{"asset": func(name string) (string, error) {
		if a, ok := own[name]; ok {
			return a.path, nil
		}
		if a, ok := house()[name]; ok {
			return a.path, nil
		}
		return "", fmt.Errorf("there is no file %s to serve", name)
	}}
	layout := template.Must(template.New("").Funcs(words).Funcs(funcs).ParseFS(base, "base/*.html"))
	s := &Set{layout: layout, own: template.Must(layout.Clone())}
	if len(patterns) > 0 {
		template.Must(s.own.ParseFS(files, patterns...))
	}
	return s
}

// Write answers with a whole page: the layout, and in it the template called name.
// It takes what the last action had to say along. A template that fails is a
// mistake of ours and panics before anything is sent.
func (s *Set) Write(w http.ResponseWriter, r *http.Request, status int, name string, v View) {
	scene := s.scene(r, v)
	scene.Flash = takeFlash(w, r)
	scene.Body = template.HTML(s.render(s.own, name, scene))
	s.send(w, r, status, s.render(s.layout, "layout.html", scene))
}

// Part answers with a template alone, for a script that puts it into a page.
func (s *Set) Part(w http.ResponseWriter, r *http.Request, name string, data any) {
	s.send(w, r, http.StatusOK, s.render(s.own, name, s.scene(r, View{Data: data})))
}

func (s *Set) scene(r *http.Request, v View) *Scene {
	who := access.From(r.Context())
	return &Scene{View: v, Who: who, Proof: who.Proof, Now: time.Now()}
}

func (s *Set) render(t *template.Template, name string, scene *Scene) []byte {
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, name, scene); err != nil {
		panic(fmt.Errorf("render %s: %w", name, err))
	}
	return tame(out.Bytes())
}

func (s *Set) send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	Guard(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a reader that went away is no failure of ours
	}
}

// Headers are what requests of scripts on the page carry, as JSON.
func (s *Scene) Headers() (string, error) {
	b, err := json.Marshal(map[string]string{access.ProofHeader: s.Proof})
	return string(b), err
}

// Nav is the navigation; the key is pressed after "g".
func (s *Scene) Nav() []Entry { return nav }

// Entry is one place of the navigation.
type Entry struct{ Area, Title, Path, Key string }

var nav = []Entry{
	{"overview", "Overview", "/_admin/", "o"},
	{"agents", "Agents", "/_admin/agents", "a"},
	{"devices", "Devices", "/_admin/devices", "d"},
	{"logs", "Logs", "/_admin/logs", "l"},
	{"gateway", "Gateway", "/_admin/gateway", "w"},
	{"secrets", "Secrets", "/_admin/secrets", "s"},
	{"models", "Models", "/_admin/models", "m"},
	{"storage", "Storage", "/_admin/storage", "b"},
	{"audit", "Audit", "/_admin/audit", "u"},
}
