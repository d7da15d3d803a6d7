package openclaw

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// A StatePart is one kind of thing that an agent keeps in its home.
type StatePart struct {
	Name  string   // one word or two
	What  string   // what it is, for people
	Paths []string // patterns relative to the home: "*" stands for any part of one name, a last "**" for all that is below
	// Critical: nobody can make it again, so that a backup or a move without it
	// has lost something.
	Critical bool
}

// state says where OpenClaw 2026.9.6 keeps what, and where earlier versions did.
// The first part that fits is a file's.
var state = []StatePart{
	{"conversations", "sessions, their transcripts and the agent's own sign-ins, in one database for each agent",
		[]string{".openclaw/agents/*/agent/openclaw-agent.sqlite*", ".openclaw/agents/*/sessions/**", ".openclaw/sessions/**"}, true},
	{"devices and schedules", "the shared database: paired devices, pairing requests, access tokens, schedules, channels' queues, the list of plugins",
		[]string{".openclaw/state/**", ".openclaw/devices/**", ".openclaw/identity/**", ".openclaw/nodes/**", ".openclaw/cron/**"}, true},
	{"settings", "openclaw.json, what stands beside it, and what the agent may run without asking",
		[]string{".openclaw/openclaw.json*", ".openclaw/config-journal-fingerprint.key", ".openclaw/exec-approvals.json", ".openclaw/.env"}, true},
	{"workspace", "who the agent is and what it remembers: AGENTS.md, SOUL.md, USER.md, IDENTITY.md, MEMORY.md, memory/, skills/ and its work",
		[]string{".openclaw/workspace/**", ".openclaw/workspace-*/**"}, true},
	{"channel logins", "logins of chat channels and model providers that earlier versions kept in files",
		[]string{".openclaw/credentials/**", ".openclaw/agents/*/agent/auth*.json"}, true},
	{"agents", "what each agent keeps beside its database",
		[]string{".openclaw/agents/**", ".openclaw/agent/**", ".openclaw/memory/**"}, true},
	{"skills", "skills that all agents share",
		[]string{".openclaw/skills/**"}, true},
	{"media", "pictures and files that came in or were made, screenshots among them",
		[]string{".openclaw/media/**"}, false},
	{"plugins", "installed plugins; they can be installed again",
		[]string{".openclaw/npm/**", ".openclaw/plugin-skills/**", ".openclaw/plugins/**", ".openclaw/extensions/**"}, false},
	{"other state", "all else that OpenClaw keeps",
		[]string{".openclaw/**"}, false},
	{"files", "what the agent made in its home",
		[]string{"**"}, true},
}

// State lists what an agent's state is. Every path in a home belongs to exactly one
// part: see [PartOf].
func State() []StatePart {
	parts := slices.Clone(state)
	for i := range parts {
		parts[i].Paths = slices.Clone(parts[i].Paths)
	}
	return parts
}

// PartOf names the part that a path, relative to the home, belongs to.
func PartOf(name string) string {
	name = path.Clean(name)
	for _, part := range state {
		if slices.ContainsFunc(part.Paths, func(pattern string) bool { return matches(pattern, name) }) {
			return part.Name
		}
	}
	return state[len(state)-1].Name
}

// matches says whether a path fits a pattern of a StatePart. A directory fits the
// pattern of what is below it.
func matches(pattern, name string) bool {
	if pattern == "**" {
		return true
	}
	prefix, all := strings.CutSuffix(pattern, "/**")
	want, have := strings.Split(prefix, "/"), strings.Split(name, "/")
	if len(have) < len(want) || !all && len(have) > len(want) {
		return false
	}
	for i, w := range want {
		if ok, err := path.Match(w, have[i]); !ok || err != nil {
			return false
		}
	}
	return true
}

// regenerated are directories of the home whose content is made again by itself.
var regenerated = []string{
	".openclaw/cache", // the Control UI, compressed: 54 MB
	".openclaw/tmp",   // locks of running processes, captures
	".cache",          // by its convention: compiled code of Node, downloads
	".npm/_cacache",   // of npm
}

// passing are files that OpenClaw's own backup leaves out too: empty databases that
// serve as locks, and copies of a database that were not finished.
var passing = regexp.MustCompile(`(?i)\.sqlite\.((generation-(lock|writer)|reindex-lock)\.sqlite|(backup|memory-reindex|tmp)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(-wal|-shm|-journal)?$`)

// Regenerated says whether a path, relative to the home, is left out of backups and
// moves since it is made again by itself. For a directory that is true of all that
// is below.
func Regenerated(name string, dir bool) bool {
	name = path.Clean(name)
	for _, r := range regenerated {
		if name == r && dir || strings.HasPrefix(name, r+"/") {
			return true
		}
	}
	// The index of a SQLite write-ahead log is of use to the processes that have it
	// mapped; the next one to open the database makes it from the log.
	return !dir && (strings.HasSuffix(name, "-shm") || passing.MatchString(name))
}

// Values reads an openclaw.json, in whatever form OpenClaw takes, as JSON values.
// Errors are as from [Merge].
func Values(config []byte) (map[string]any, error) {
	doc, err := parseDocument(config)
	if err != nil {
		return nil, err
	}
	values, ok := decode(&doc.root).(map[string]any)
	if !ok {
		return nil, &ConfigError{Problem: "it has a value that JSON cannot hold"}
	}
	return values, nil
}
