package page

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// words are the functions that templates have.
var words = template.FuncMap{
	"prose":  Prose,
	"plain":  Plain,
	"person": func(who string) string { return Plain(strings.TrimPrefix(who, string(access.KindPerson)+" "), 120) },
	"millis": func(now, t time.Time) int64 { return max(now.Sub(t).Milliseconds(), 0) },
	"pair":   func(one, two any) Pair { return Pair{one, two} },
	"ago":    Ago,
	"long":   Long,
	"since":  func(now, t time.Time) string { return Long(now.Sub(t)) },
	"bytes":  Bytes,
	"stamp":  Stamp,
	"clock":  func(t time.Time) string { return t.Local().Format("15:04:05") },
	"exact":  func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") },
	"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
}

// Prose escapes a sentence and shows what stands in backquotes as code.
func Prose(text string) template.HTML {
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

// Ago says how long before now t was, to one or two digits that matter.
func Ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 5*time.Second:
		return "just now"
	}
	return Long(d) + " ago"
}

// Long is a length of time to one or two digits that matter: "3 h 5 min", "41 d".
func Long(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 10*time.Hour && int(d.Minutes())%60 > 0:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours())/24)
}

// Bytes is a size in binary units; "unknown" when negative.
func Bytes(n int64) string {
	switch {
	case n < 0:
		return "unknown"
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

// Stamp is a point in time, to the minute, in the machine's time zone.
func Stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// Pair hands two values to a template that is part of another.
type Pair struct{ One, Two any }
