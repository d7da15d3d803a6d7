package edge

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

//go:embed page/page.html
var pageSource string

//go:embed page/page.css
var pageStyle string

//go:embed page/boot.js
var bootScript string

var pages = template.Must(template.New("page").Funcs(template.FuncMap{"prose": prose}).Parse(pageSource))

// pagePolicy lets a page of ours use its own style and script, named by their
// hashes, and talk to its own origin. Everything else is forbidden.
var pagePolicy = strings.Join([]string{
	"default-src 'none'", "img-src data:", "connect-src 'self'", "form-action 'self'",
	"base-uri 'none'", "frame-ancestors 'none'",
	"style-src " + cspHash(pageStyle), "script-src " + cspHash(bootScript),
}, "; ")

func cspHash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageView is what the template sees.
type pageView struct {
	Title, Kind     string
	Message, Remedy string
	Form            bool
	Boot            *bootView
	Status          int
	Style           template.CSS
	Script          template.JS
	Events, Token   string // paths
}

// bootView is the live part of the page.
type bootView struct {
	Agent, State    string
	UnderWay        bool
	Message, Remedy string
	Error           string // the last attempt's, while another one is under way
	Attempt         int
	Phases          []phaseView
	Runtime, Driver string
}

type phaseView struct {
	Label   string
	State   string // "done", "active" or "stopped"
	Elapsed string
	Millis  int64 // of an active phase, for the page's clock
}

func writePage(w http.ResponseWriter, p problem) {
	view := pageView{
		Title: p.title, Kind: p.kind, Message: p.message, Remedy: p.remedy, Form: p.form, Status: p.status,
		Style: template.CSS(pageStyle), Script: template.JS(bootScript), Events: eventsPath, Token: tokenPath,
	}
	if p.boot != nil {
		view.Boot = p.bootView()
	}
	var body bytes.Buffer
	if err := pages.Execute(&body, view); err != nil {
		panic(fmt.Errorf("render page: %w", err)) // a mistake in the template
	}
	w.Header().Set("Content-Security-Policy", pagePolicy)
	ownHeaders(w.Header())
	w.Header().Set("Referrer-Policy", "same-origin") // with none at all, browsers hide where our own form comes from
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.status)
	_, _ = w.Write(body.Bytes())
}

// renderBoot is the live part alone.
func renderBoot(p problem) string {
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, "boot", p.bootView()); err != nil {
		panic(fmt.Errorf("render boot: %w", err))
	}
	return body.String()
}

func (p problem) bootView() *bootView {
	s := p.boot
	v := &bootView{Agent: s.Agent, State: string(s.State), UnderWay: underWay(s.State), Message: p.message, Attempt: s.Attempt, Runtime: s.Runtime, Driver: s.Driver}
	if !underWay(s.State) {
		v.Remedy = p.remedy // while it is on its way up there is nothing to do but watch
	} else if s.Error != "" {
		v.Error, v.Remedy = s.Error, s.Remedy
	}
	for _, phase := range s.Phases {
		v.Phases = append(v.Phases, viewPhase(phase, s.State, p.now))
	}
	return v
}

// underWay says whether an agent in this state gets to the next one by itself,
// as it does while somebody waits for it.
func underWay(s agent.State) bool {
	switch s {
	case agent.StateBooting, agent.StateSuspending, agent.StateAsleep, agent.StateWaking:
		return true
	}
	return false
}

func viewPhase(phase agent.Phase, state agent.State, now time.Time) phaseView {
	end, v := phase.Ended, phaseView{Label: firstOf(phase.Label, phase.Name), State: "done"}
	switch {
	case !end.IsZero():
	case underWay(state):
		end, v.State = now, "active"
	default:
		end, v.State = now, "stopped"
	}
	took := max(end.Sub(phase.Started), 0)
	v.Elapsed, v.Millis = fmt.Sprintf("%.1f s", took.Seconds()), took.Milliseconds()
	return v
}

// prose escapes a sentence and shows what stands in backquotes as code.
func prose(text string) template.HTML {
	var out strings.Builder
	for i, part := range strings.Split(text, "`") {
		part = template.HTMLEscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		out.WriteString(part)
	}
	return template.HTML(out.String())
}
