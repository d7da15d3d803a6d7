package migrate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/secret"
)

const (
	maxFound   = 200 // secrets
	maxPlaces  = 20  // places of one
	minScrub   = 10  // bytes of a secret that is looked for in other files: shorter ones are words
	maxSecret  = 16 << 10
	nameLength = 64
)

// purse gathers secrets. A value is kept once, whatever names it has.
type purse struct {
	found   []*Found
	byValue map[string]*Found
	names   map[string]bool
	exact   [][]byte // forms in which they may stand in a file, the longest first
	full    bool
	grown   bool // since exact was made
}

func newPurse() *purse {
	return &purse{byValue: map[string]*Found{}, names: map[string]bool{}}
}

// put takes a secret and says whether it did: a value that is empty, a placeholder
// or a reference to the environment is none.
func (p *purse) put(name, value, where string) bool {
	if !isLiteral(value) || len(value) > maxSecret {
		return false
	}
	f := p.byValue[value]
	if f == nil {
		if len(p.found) >= maxFound {
			p.full = true
			return false
		}
		f = &Found{Name: p.freeName(name), Value: secret.NewValue(value)}
		p.byValue[value] = f
		p.found = append(p.found, f)
		p.grown = true
	}
	if len(f.Where) < maxPlaces && !slices.Contains(f.Where, where) {
		f.Where = append(f.Where, where)
	}
	return true
}

var notName = regexp.MustCompile(`[^A-Z0-9]+`)

// secretName makes a name for our secret store of whatever text.
func secretName(text string) string {
	name := strings.Trim(notName.ReplaceAllString(strings.ToUpper(text), "_"), "_")
	if name == "" || name[0] < 'A' {
		name = "SECRET_" + name
	}
	return strings.TrimRight(name[:min(len(name), nameLength-4)], "_")
}

func (p *purse) freeName(name string) string {
	name = secretName(name)
	free := name
	for i := 2; p.names[free]; i++ {
		free = fmt.Sprintf("%s_%d", name, i)
	}
	p.names[free] = true
	return free
}

// settle prepares the search for the values in other files.
func (p *purse) settle() {
	p.exact, p.grown = nil, false
	for value := range p.byValue {
		if len(value) < minScrub {
			continue
		}
		forms := [][]byte{[]byte(value)}
		if quoted, err := json.Marshal(value); err == nil && len(quoted) > len(value)+2 {
			forms = append(forms, quoted[1:len(quoted)-1])
		}
		p.exact = append(p.exact, forms...)
	}
	slices.SortFunc(p.exact, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
}

func (p *purse) list() []Found {
	list := make([]Found, 0, len(p.found))
	for _, f := range p.found {
		list = append(list, Found{Name: f.Name, Value: f.Value, Where: slices.Clone(f.Where)})
	}
	slices.SortFunc(list, func(a, b Found) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// hide takes secrets out of a text that people see.
func (p *purse) hide(text string) string {
	for _, form := range p.exact {
		text = strings.ReplaceAll(text, string(form), Placeholder)
	}
	return string(replaceShapes([]byte(text)))
}

// isLiteral says whether a configured value is a secret itself.
func isLiteral(v string) bool {
	v = strings.TrimSpace(v)
	return v != "" && v != Placeholder && !isReference(v)
}

var reference = regexp.MustCompile(`^\$\{[A-Z][A-Z0-9_]*\}$`)

func isReference(v string) bool { return reference.MatchString(strings.TrimSpace(v)) }
