package config

import (
	"errors"
	"regexp"
	"strings"
)

// ErrInvalid is what every error of [Load] is.
var ErrInvalid = errors.New("invalid configuration")

// Problem is one mistake in the settings.
type Problem struct {
	Key    string `json:"key,omitempty"` // "" when it is not about one
	Origin string `json:"origin"`        // "FILE:LINE", "FILE", "environment" or a flag
	Text   string `json:"text"`          // what is wrong and what is right; never a secret
}

func (p Problem) String() string {
	switch {
	case p.Key == "":
		return p.Origin + ": " + p.Text
	case p.Origin == "":
		return p.Key + ": " + p.Text
	}
	return p.Key + " (" + p.Origin + "): " + p.Text
}

// Problems are all mistakes that were found, as one error: a line for each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Is makes every Problems an [ErrInvalid].
func (p Problems) Is(target error) bool { return target == ErrInvalid }

func (p *Problems) add(key, origin string, err error) {
	*p = append(*p, Problem{key, origin, err.Error()})
}

var plainName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// unknown reports a name that is not in the table. What does not look like a
// name is not quoted: it may be a secret in the wrong place.
func (p *Problems) unknown(name, where string) {
	known := nearest(name)
	switch {
	case known != "" && len(name) <= 64:
		p.add(name, where, errors.New("moltworker knows no such name, did you mean "+known+"?"))
	case plainName.MatchString(name):
		p.add(name, where, errors.New("moltworker knows no such name: remove it, or see docs/configuration.md for all names"))
	default:
		p.add("", where, errors.New("what stands before the = is no name that moltworker knows: see docs/configuration.md for all names"))
	}
}

// nearest finds the known name that was most likely meant, or "".
func nearest(name string) string {
	stem := strings.TrimPrefix(strings.ToUpper(name), ourPrefix)
	best, bestDistance := "", len(stem)/3+1
	for _, k := range table {
		if d := distance(stem, strings.TrimPrefix(k.Name, ourPrefix)); d < bestDistance {
			best, bestDistance = k.Name, d
		}
	}
	return best
}

// distance counts the letters to insert, remove, change or swap with their
// neighbour to turn a into b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
