package web

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/page"
)

const (
	shownLines  = 400     // of a log on its page
	maxLine     = 4 << 10 // bytes of one that are shown
	maxFilter   = 200     // bytes
	maxLogBatch = 200     // lines that a page is told of at once
)

// logLine is one line as it is shown.
type logLine struct {
	Time   string `json:"time"`
	Day    string `json:"day"`
	Stream string `json:"stream"`
	Text   string `json:"text"`
}

type logsView struct {
	chosen
	Lines   []logLine
	Filter  string
	Problem *admin.Error
}

func (s *site) logs(w http.ResponseWriter, r *http.Request) error {
	c, err := s.choose(r)
	if err != nil {
		return err
	}
	v := &logsView{chosen: c, Filter: r.FormValue("filter")}
	v.Filter = v.Filter[:min(len(v.Filter), maxFilter)]
	if c.Agent != "" {
		entries, _, err := s.plane.Logs(r.Context(), c.Agent, shownLines, false)
		if err != nil {
			v.Problem = admin.AsError(err)
		}
		for _, e := range entries {
			if line := viewLine(e); matches(line, v.Filter) {
				v.Lines = append(v.Lines, line)
			}
		}
	}
	s.pages.Write(w, r, http.StatusOK, "logs.html", page.View{Title: "Logs", Area: "logs", Data: v})
	return nil
}

func viewLine(e agent.LogEntry) logLine {
	t := e.Time.Local()
	return logLine{Time: t.Format("15:04:05"), Day: t.Format("2006-01-02"), Stream: page.Plain(e.Stream, 20), Text: page.Plain(e.Text, maxLine)}
}

// matches says whether a line has the filter in it, in whatever case; the page's
// script does the same.
func matches(line logLine, filter string) bool {
	return filter == "" || strings.Contains(strings.ToLower(line.Stream+" "+line.Text), strings.ToLower(filter))
}

// logBatch is what a page's script is told of a log.
type logBatch struct {
	Reset bool      `json:"reset,omitempty"` // these lines instead of those it has
	Lines []logLine `json:"lines"`
}

// logEvents begins with the newest lines, so that a page that comes back has no
// gap.
func (s *site) logEvents(ctx context.Context, name string) (<-chan event, error) {
	entries, later, err := s.plane.Logs(ctx, name, shownLines, true)
	if err != nil {
		return nil, err
	}
	out := make(chan event)
	go func() {
		defer close(out)
		first := logBatch{Reset: true, Lines: []logLine{}}
		for _, e := range entries {
			first.Lines = append(first.Lines, viewLine(e))
		}
		for batch := (first); ; {
			select {
			case out <- logEvent(batch):
			case <-ctx.Done():
				return
			}
			var open bool
			if batch, open = nextBatch(ctx, later); !open {
				return
			}
		}
	}()
	return out, nil
}

func logEvent(b logBatch) event {
	data, _ := json.Marshal(b) // strings only
	return event{"log", string(data)}
}

// nextBatch waits for a line and takes those along that are there already.
func nextBatch(ctx context.Context, later <-chan agent.LogEntry) (b logBatch, open bool) {
	select {
	case e, open := <-later:
		if !open {
			return b, false
		}
		b.Lines = append(b.Lines, viewLine(e))
	case <-ctx.Done():
		return b, false
	}
	for len(b.Lines) < maxLogBatch {
		select {
		case e, open := <-later:
			if !open {
				return b, true
			}
			b.Lines = append(b.Lines, viewLine(e))
		default:
			return b, true
		}
	}
	return b, true
}
