package migrate

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw"
)

// stateNames are the names that OpenClaw's state directory has and had, the newest
// first; configNames those of the configuration in it.
var (
	stateNames  = []string{".openclaw", ".clawdbot", ".moltbot", ".moldbot"}
	configNames = []string{"openclaw.json", "clawdbot.json", "moltbot.json", "moldbot.json"}
	mirrorNames = []string{"openclaw", "clawdbot", "moltbot"} // in a bucket of moltworker on Workers
)

// Small files that OpenClaw keeps secrets in. They are read before anything is
// written, so that their secrets are known when other files are.
var secretFiles = append(slices.Clone(configNames), ".env", "auth-profiles.json", "auth.json", "oauth.json", "models.json")

// Bounds of a survey.
const (
	maxText       = openclaw.MaxConfig // bytes of one such file
	maxTexts      = 256
	maxTextsBytes = 32 << 20
	maxCandidates = 64
	maxDirs       = 100_000
)

// A candidate is a directory that may be an agent's state.
type candidate struct {
	dir     string
	named   bool // it has one of stateNames
	configs []string
}

func (c *candidate) rank() int {
	switch {
	case c.named && len(c.configs) > 0:
		return 0
	case slices.Contains(mirrorNames, c.dir) && len(c.configs) > 0:
		return 1
	case len(c.configs) > 0:
		return 2
	}
	return 3
}

// survey is what the first pass over a source comes to.
type survey struct {
	candidates map[string]*candidate
	texts      map[string][]byte
	size       int
	dirs       map[string]struct{} // that something is in
	exported   bool                // our export's first file is in it
	warnings   []string
}

func newSurvey() *survey {
	return &survey{candidates: map[string]*candidate{}, texts: map[string][]byte{}, dirs: map[string]struct{}{}}
}

// note takes one entry in.
func (s *survey) note(e entry, content io.Reader) error {
	if e.kind == isSymlink || e.kind == isSpecial {
		return nil
	}
	dir, base := path.Split(e.path)
	dir = path.Clean(dir)
	s.noteDirs(e, dir)
	s.noteState(e)
	if e.kind != isFile {
		return nil
	}
	if e.path == readmeName {
		s.exported = true
	}
	if slices.Contains(configNames, base) && !strings.Contains(e.path, "node_modules/") {
		if c := s.candidate(dir); c != nil && !slices.Contains(c.configs, base) {
			c.configs = append(c.configs, base)
		}
	}
	return s.noteText(e, content)
}

func (s *survey) noteDirs(e entry, dir string) {
	if e.kind == isDir {
		dir = e.path
	}
	for ; dir != "." && len(s.dirs) < maxDirs; dir = path.Dir(dir) {
		if _, known := s.dirs[dir]; known {
			return
		}
		s.dirs[dir] = struct{}{}
	}
}

// noteState looks for the outermost state directory on an entry's path.
func (s *survey) noteState(e entry) {
	parts := strings.Split(e.path, "/")
	for i, part := range parts {
		if slices.Contains(stateNames, part) && (i < len(parts)-1 || e.kind == isDir) {
			s.candidate(path.Join(parts[:i+1]...))
			return
		}
	}
}

func (s *survey) candidate(dir string) *candidate {
	c := s.candidates[dir]
	if c == nil && len(s.candidates) < maxCandidates {
		c = &candidate{dir: dir, named: slices.Contains(stateNames, path.Base(dir))}
		s.candidates[dir] = c
	}
	return c
}

// noteText keeps the content of a small file that may hold secrets.
func (s *survey) noteText(e entry, content io.Reader) error {
	if e.kind != isFile || !slices.Contains(secretFiles, path.Base(e.path)) || strings.Contains(e.path, "node_modules/") {
		return nil
	}
	old := s.texts[e.path]
	if e.size > maxText || len(s.texts) >= maxTexts || s.size-len(old)+int(e.size) > maxTextsBytes {
		delete(s.texts, e.path)
		s.size -= len(old)
		s.warnings = append(s.warnings, fmt.Sprintf("%s was too large, or one of too many, to look for secrets by name: only those with a well-known shape were taken out", quote(e.path)))
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(content, maxText))
	if err != nil {
		return fmt.Errorf("read %s: %w", quote(e.path), err)
	}
	s.texts[e.path] = text // of two with one name the last counts, as when a tar is unpacked
	s.size += len(text) - len(old)
	return nil
}

// settle chooses the agent among the candidates.
func (s *survey) settle(src source) (layout, error) {
	all := make([]*candidate, 0, len(s.candidates))
	for _, c := range s.candidates {
		all = append(all, c)
	}
	if len(all) == 0 {
		return layout{}, unknown(src.String())
	}
	slices.SortFunc(all, func(a, b *candidate) int {
		return cmp.Or(
			cmp.Compare(a.rank(), b.rank()),
			cmp.Compare(strings.Count(a.dir, "/"), strings.Count(b.dir, "/")),
			cmp.Compare(index(stateNames, path.Base(a.dir)), index(stateNames, path.Base(b.dir))),
			cmp.Compare(a.dir, b.dir))
	})
	best := all[0]
	for _, c := range all[1:] {
		if c.rank() == best.rank() && !strings.HasPrefix(c.dir, best.dir+"/") && len(c.configs) > 0 {
			s.warnings = append(s.warnings, fmt.Sprintf("there is another agent in %s: it was not taken; import it by itself if it is wanted", quote(c.dir)))
		}
	}
	slices.SortFunc(best.configs, func(a, b string) int { return index(configNames, a) - index(configNames, b) })
	return s.layoutOf(src, best), nil
}

// index is that of a name in a list, or its length.
func index(list []string, name string) int {
	if i := slices.Index(list, name); i >= 0 {
		return i
	}
	return len(list)
}

// has says whether a directory of the source has anything in it.
func (s *survey) has(dir string) bool {
	_, ok := s.dirs[dir]
	return ok
}
