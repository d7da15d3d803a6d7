package migrate

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw"
)

const (
	stateDir     = ".openclaw"
	workspaceDir = stateDir + "/workspace"
)

// A layout says where in a source the parts of an agent are, and where they go.
type layout struct {
	kind   string // what was recognised, for people
	home   string // the old home in the source
	state  string // the state directory in the source
	config string // the configuration's name in it; "" when there is none
	mirror bool   // a bucket's, with the workspace beside the state
	whole  bool   // all of the home is the agent's
	root   string // what was "/" in the source; "" when it is not in it

	rules []rule            // the longest that fits counts
	moved map[string]string // workspaces of the configuration, old to new
	has   func(dir string) bool
}

// A rule takes what is below one directory of the source to one of the new home.
type rule struct{ from, to string }

var kinds = map[string]string{
	".openclaw": "the state of OpenClaw (~/.openclaw)",
	".clawdbot": "the state of Clawdbot (~/.clawdbot)",
	".moltbot":  "the state of Moltbot (~/.moltbot)",
	".moldbot":  "the state of Moltbot (~/.moldbot)",
}

// machineTop are directories at the top of a machine that homes are in.
var machineTop = []string{"root", "home", "Users", "data", "var", "opt", "srv"}

func (s *survey) layoutOf(src source, c *candidate) layout {
	l := layout{state: c.dir, home: path.Dir(c.dir), kind: kinds[path.Base(c.dir)], has: s.has, moved: map[string]string{}}
	if len(c.configs) > 0 {
		l.config = c.configs[0]
	}
	first, _, _ := strings.Cut(c.dir, "/")
	payload := strings.Index(c.dir+"/", "/payload/posix/")
	switch {
	case s.exported && c.dir == stateDir:
		l.kind, l.whole = "an agent exported by moltworker", true
	case payload > 0:
		l.kind, l.root = "a backup made by OpenClaw", c.dir[:payload]+"/payload/posix"
	case slices.Contains(mirrorNames, c.dir) && (s.has("workspace") || s.has("skills") || isBucket(src)), isBucket(src) && c.dir == ".":
		l.kind, l.mirror = "a bucket of moltworker on Workers", true
	case slices.Contains(machineTop, first):
		l.root = "."
	}
	if l.kind == "" {
		l.kind = "a state directory of OpenClaw"
	}
	if d, ok := src.(*dirSource); ok {
		if isThere(d.home, readmeName) {
			s.warnings = append(s.warnings, "an exported agent was unpacked here: its state is taken, but not what it made elsewhere in its home; import the archive itself to have all")
		}
		l.has = func(dir string) bool { return s.has(dir) || isRealDir(path.Join(d.home, dir)) }
	}
	return l
}

func isBucket(src source) bool { _, ok := src.(*mirror); return ok }

// homeLike is the beginning of a path that is, or was, somebody's home.
var homeLike = regexp.MustCompile(`^(?:~|/root|/home/[^/]+|/Users/[^/]+|/data)(?:/|$)`)

// locate gives the places in the source where what was at a path of the old machine
// may be, the likeliest first.
func (l *layout) locate(old string) (places []string) {
	old = strings.TrimRight(old, "/")
	parts := strings.Split(old, "/")
	if i := slices.IndexFunc(parts, func(p string) bool { return slices.Contains(stateNames, p) }); i >= 0 {
		return []string{path.Join(l.state, path.Join(parts[i+1:]...))}
	}
	if rest, ok := strings.CutPrefix(old, "/root/clawd"); ok && l.mirror {
		if rest == "/skills" || strings.HasPrefix(rest, "/skills/") {
			return []string{strings.TrimPrefix(rest, "/")}
		}
		return []string{path.Join("workspace", rest)}
	}
	if l.mirror {
		return nil
	}
	if l.root != "" && strings.HasPrefix(old, "/") {
		places = append(places, path.Join(l.root, old))
	}
	if m := homeLike.FindString(old); m != "" {
		places = append(places, path.Join(l.home, old[len(m):]))
	}
	return places
}

// find gives the place in the source of a workspace. A configuration is hostile: it
// gets nothing that is outside, hidden in a home, or holds the state itself.
func (l *layout) find(old string) (string, bool) {
	for _, p := range l.locate(old) {
		inState := strings.HasPrefix(p, l.state+"/") || l.state == "."
		hidden := strings.HasPrefix(p, ".") || strings.Contains(p, "/.")
		if p != ".." && !strings.HasPrefix(p, "../") && p != "." && p != l.home && (inState || !hidden && !strings.HasPrefix(l.state, p+"/")) && l.has(p) {
			return p, true
		}
	}
	return "", false
}

// place decides where everything goes.
func (l *layout) place(config map[string]any, warn *notes) {
	l.rules = []rule{{l.state, stateDir}}
	if l.whole {
		l.rules = append(l.rules, rule{".", "."})
	}
	spaces := workspaces(config)
	if l.mirror {
		l.placeMirror(spaces)
	}
	if len(spaces) == 0 && !l.mirror && !l.has(l.state+"/workspace") {
		spaces = append(spaces, space{path: "~/clawd", silent: true}) // where the first versions had it
	}
	for _, w := range spaces {
		l.placeSpace(w, warn)
	}
}

// placeMirror is for a bucket that has /root/clawd as workspace/ and skills/.
func (l *layout) placeMirror(spaces []space) {
	to := "clawd"
	used := slices.ContainsFunc(spaces, func(w space) bool { return w.agent == "" && strings.TrimRight(w.path, "/") == "/root/clawd" })
	if used || len(spaces) == 0 && !l.has(path.Join(l.state, "workspace")) {
		to = l.free("workspace", "clawd")
	}
	l.rules = append(l.rules, rule{"workspace", to}, rule{"skills", to + "/skills"})
	l.moved["/root/clawd"] = to
}

func (l *layout) placeSpace(w space, warn *notes) {
	if _, done := l.moved[w.path]; done {
		return
	}
	from, found := l.find(w.path)
	if to, mapped := l.to(from); found && mapped {
		l.moved[w.path] = to
		return
	}
	name := "workspace"
	if w.agent != "" && w.agent != "main" {
		name += "-" + plainName(w.agent)
	}
	if !found {
		if w.silent {
			return
		}
		l.moved[w.path] = stateDir + "/" + name
		warn.addf("the workspace %s is not in what was imported: the agent's memory, identity and skills are missing; add that directory and import again, or put it into ~/.openclaw/%s afterwards", quote(w.path), name)
		return
	}
	l.moved[w.path] = l.free(name, path.Base(from))
	l.rules = append(l.rules, rule{from, l.moved[w.path]})
}

// free is a directory in the new state that nothing goes to yet.
func (l *layout) free(name, other string) string {
	taken := func(to string) bool {
		return l.has(path.Join(l.state, path.Base(to))) || slices.ContainsFunc(l.rules, func(r rule) bool { return r.to == to })
	}
	to := stateDir + "/" + name
	for i := 2; taken(to); i++ {
		to = fmt.Sprintf("%s/workspace-%s", stateDir, plainName(other))
		if i > 2 {
			to += fmt.Sprintf("-%d", i-1)
		}
	}
	return to
}

var notPlain = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func plainName(s string) string {
	s = strings.Trim(notPlain.ReplaceAllString(s, "-"), "-.")
	return s[:min(len(s), 64)]
}

// to gives the place in the new home of a path in the source; false when the path is
// not the agent's.
func (l *layout) to(from string) (string, bool) {
	best := -1
	for i, r := range l.rules {
		if (r.from == "." || from == r.from || strings.HasPrefix(from, r.from+"/")) && (best < 0 || len(r.from) > len(l.rules[best].from)) {
			best = i
		}
	}
	if best < 0 || from == "" {
		return "", false
	}
	r := l.rules[best]
	if r.from == "." {
		return path.Join(r.to, from), true
	}
	return path.Join(r.to, strings.TrimPrefix(from, r.from)), true
}

// prefixes are the directories of the source that the second walk needs.
func (l *layout) prefixes() (list []string) {
	for _, r := range l.rules {
		if !slices.Contains(list, r.from) && !slices.ContainsFunc(l.rules, func(o rule) bool { return o.from == "." || strings.HasPrefix(r.from, o.from+"/") }) {
			list = append(list, r.from)
		}
	}
	if l.whole {
		return []string{"."}
	}
	return list
}

// newPath gives what a path of the old machine is in the sandbox; false when it is
// no path that was moved.
func (l *layout) newPath(old string) (string, bool) {
	if !strings.HasPrefix(old, "/") && !strings.HasPrefix(old, "~/") {
		return "", false
	}
	if to, ok := l.moved[old]; ok {
		return openclaw.Home + "/" + to, true
	}
	for _, p := range l.locate(old) {
		if to, ok := l.to(p); ok && (l.has(p) || l.has(path.Dir(p)) || strings.HasPrefix(to, stateDir)) {
			return openclaw.Home + "/" + to, true
		}
	}
	return "", false
}

// space is a workspace that the configuration names.
type space struct {
	agent  string // "" for the default of all
	path   string
	silent bool // nobody named it: its absence is nothing to warn of
}

// workspaces are those in a configuration, the default first.
func workspaces(config map[string]any) (list []space) {
	add := func(agent string, v any) {
		if p, ok := v.(string); ok && p != "" && len(p) < maxPath {
			list = append(list, space{agent: agent, path: p})
		}
	}
	add("", dig(config, "agents", "defaults", "workspace"))
	add("", dig(config, "agent", "workspace"))
	agents, _ := dig(config, "agents", "list").([]any)
	for _, a := range agents[:min(len(agents), 100)] {
		m, _ := a.(map[string]any)
		id, _ := m["id"].(string)
		add(id, m["workspace"])
	}
	return list
}

// dig finds a value in nested objects; nil when it is not there.
func dig(v any, path ...string) any {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}
