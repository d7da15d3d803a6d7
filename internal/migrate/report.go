package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	maxItems = 200
	maxNotes = 100
)

// A Report says what became of everything that was found. It has no secret in it.
type Report struct {
	From     string   `json:"from"`
	Kind     string   `json:"kind"`
	Files    int      `json:"files"` // written, directories and links included
	Bytes    int64    `json:"bytes"`
	Kept     []Item   `json:"kept"`
	Changed  []Item   `json:"changed"`
	Dropped  []Item   `json:"dropped"`
	Secrets  []Found  `json:"secrets"` // names and places; the values are not shown
	Warnings []string `json:"warnings"`
	// Doctor: part of the state has the form of an earlier version, which
	// `openclaw doctor --fix` takes over.
	Doctor bool `json:"doctor"`
}

// An Item is something that was kept, changed or left out, and why.
type Item struct {
	What   string `json:"what"`
	Reason string `json:"reason,omitempty"`
	Files  int    `json:"files,omitempty"` // entries
	Bytes  int64  `json:"bytes,omitempty"`
}

// String is the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "From %s: %s. %d files, %s.\n", r.From, r.Kind, r.Files, size(r.Bytes))
	section := func(title string, items []Item) {
		if len(items) > 0 {
			fmt.Fprintf(&b, "\n%s\n", title)
		}
		for _, it := range items {
			fmt.Fprintf(&b, "  %s%s\n", it.What, it.tail())
		}
	}
	section("Kept", r.Kept)
	section("Changed", r.Changed)
	section("Left out", r.Dropped)
	if len(r.Secrets) > 0 {
		b.WriteString("\nSecrets that were taken out of the files\n")
	}
	for _, s := range r.Secrets {
		fmt.Fprintf(&b, "  %s (%s)\n", s.Name, strings.Join(s.Where, "; "))
	}
	if len(r.Warnings) > 0 {
		b.WriteString("\nLook at this\n")
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "  %s\n", w)
	}
	return b.String()
}

func (it Item) tail() string {
	tail := ""
	if it.Files > 0 {
		tail = fmt.Sprintf(" (%d, %s)", it.Files, size(it.Bytes))
	}
	if it.Reason != "" {
		tail += ": " + it.Reason
	}
	return tail
}

// tally gathers items, those of the same kind together.
type tally struct {
	items []Item
	at    map[[2]string]int
	more  int
}

func (t *tally) add(what, reason string, bytes int64) {
	key := [2]string{what, reason}
	i, known := t.at[key]
	if !known {
		if len(t.items) >= maxItems {
			t.more++
			return
		}
		if t.at == nil {
			t.at = map[[2]string]int{}
		}
		i = len(t.items)
		t.at[key] = i
		t.items = append(t.items, Item{What: what, Reason: reason})
	}
	t.items[i].Files++
	t.items[i].Bytes += bytes
}

// change adds something that is no file.
func (t *tally) change(what, reason string) {
	t.add(what, reason, 0)
	if i, ok := t.at[[2]string{what, reason}]; ok {
		t.items[i].Files = 0
	}
}

func (t *tally) clone() tally {
	return tally{items: slices.Clone(t.items), at: maps.Clone(t.at), more: t.more}
}

func (t *tally) list() []Item {
	items := slices.Clone(t.items)
	if t.more > 0 {
		items = append(items, Item{What: fmt.Sprintf("and %d more", t.more)})
	}
	return items
}

// notes are sentences for people, each once, and not without end.
type notes struct {
	list []string
	more int
}

func (n *notes) add(texts ...string) {
	for _, text := range texts {
		switch {
		case text == "" || slices.Contains(n.list, text):
		case len(n.list) >= maxNotes:
			n.more++
		default:
			n.list = append(n.list, text)
		}
	}
}

func (n *notes) addf(format string, args ...any) { n.add(fmt.Sprintf(format, args...)) }

func (n *notes) clone() notes { return notes{slices.Clone(n.list), n.more} }

func (n *notes) all() []string {
	list := slices.Clone(n.list)
	if n.more > 0 {
		list = append(list, fmt.Sprintf("and %d more of these", n.more))
	}
	return list
}

func joinWords(words []string) string {
	words = slices.Clone(words)
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}
