package runtime

import (
	"fmt"
	"regexp"
	"strings"
)

// Reason tells installation failures apart for programs.
type Reason string

// The reasons an installation fails for.
const (
	ReasonNoNPM      Reason = "no_npm"
	ReasonOffline    Reason = "offline"
	ReasonIntegrity  Reason = "integrity"
	ReasonDiskFull   Reason = "disk_full"
	ReasonPermission Reason = "permission"
	ReasonNotFound   Reason = "not_found"
	ReasonAuth       Reason = "auth"
	ReasonTLS        Reason = "tls"
	ReasonMachine    Reason = "machine" // not one that is pinned for
	ReasonNPM        Reason = "npm"     // npm failed in a way we do not know
)

// Error is why there is no runtime. Message says what is wrong, Mend what to do
// about it; Detail is npm's last output, for the log.
type Error struct {
	Reason  Reason
	Message string
	Mend    string
	Detail  string
	Err     error
}

func (e *Error) Error() string { return e.Message }

// Remedy says what a person can do about it.
func (e *Error) Remedy() string { return e.Mend }

// Unwrap gives the error underneath, if any.
func (e *Error) Unwrap() error { return e.Err }

const getNPM = "install Node.js with npm (e.g. `apt install npm`, or from nodejs.org), then start again"

// failures maps what npm prints to what it means, most telling first.
var failures = []struct {
	pattern *regexp.Regexp
	reason  Reason
	message string // DIR and LINE are filled in
	mend    string
}{
	{regexp.MustCompile(`ENOSPC|EDQUOT`), ReasonDiskFull,
		"the disk filled up while installing OpenClaw",
		"free some space for DIR and for npm's cache (`npm config get cache`), then start again"},
	{regexp.MustCompile(`EACCES|EPERM|EROFS`), ReasonPermission,
		"npm was not allowed to write while installing OpenClaw (LINE)",
		"make DIR and npm's cache (`npm config get cache`) writable for this user, then start again"},
	{regexp.MustCompile(`CERT_|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|ERR_TLS`), ReasonTLS,
		"npm does not trust the registry's certificate (LINE)",
		"give npm your proxy's CA (`npm config set cafile FILE`), then start again"},
	{regexp.MustCompile(`\bE40[13]\b|ENEEDAUTH`), ReasonAuth,
		"the npm registry refused access (LINE)",
		"sign npm in (`npm login`) or correct `npm config get registry`, then start again"},
	{regexp.MustCompile(`\bE404\b|ETARGET|ENOVERSIONS`), ReasonNotFound,
		"the npm registry does not have a pinned package (LINE)",
		"let npm use a complete registry or mirror (`npm config get registry`), then start again"},
	{regexp.MustCompile(`ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT|ENOTCACHED|\bE5\d\d\b|network request to`), ReasonOffline,
		"the npm registry could not be reached (LINE)",
		"check the network, or npm's proxy and registry (`npm config list`), then start again; what was downloaded is kept"},
}

var (
	wantedHash = regexp.MustCompile(`wanted (sha\d+-[A-Za-z0-9+/=]+)`)
	npmPrefix  = regexp.MustCompile(`^npm (?:error|ERR!) ?`)
)

// explainNPM turns a failed npm run into an Error. dir is where it installed to,
// output the tail of what it printed.
func (r recipe) explainNPM(err error, dir, output string) *Error {
	e := &Error{Reason: ReasonNPM, Detail: output, Err: err}
	said := errorLines(output)
	all := strings.Join(said, "\n")
	if strings.Contains(all, "EINTEGRITY") {
		e.Reason = ReasonIntegrity
		e.Message = fmt.Sprintf("refusing the download: %s does not have the pinned hash", r.packageWithHash(all))
		e.Mend = "the registry, mirror or proxy that npm uses serves something else: check `npm config get registry`, then start again"
		return e
	}
	for _, f := range failures {
		if f.pattern.MatchString(all) {
			e.Reason = f.reason
			fill := strings.NewReplacer("DIR", dir, "LINE", firstTelling(said, f.pattern))
			e.Message, e.Mend = fill.Replace(f.message), fill.Replace(f.mend)
			return e
		}
	}
	e.Message = fmt.Sprintf("npm could not install OpenClaw (%s)", lastOf(said, err.Error()))
	e.Mend = "run `npm doctor`, repair what it names, then start again"
	return e
}

// packageWithHash names the package whose pinned hash npm says it wanted.
func (r recipe) packageWithHash(output string) string {
	m := wantedHash.FindStringSubmatch(output)
	entries, err := parseLock(r.lock)
	if m == nil || err != nil {
		return "a package"
	}
	for _, path := range sortedKeys(entries) {
		if entries[path].Integrity == m[1] {
			return packageName(path) + "@" + entries[path].Version
		}
	}
	return "a package"
}

// errorLines are npm's own error lines without their prefix; if it printed none
// (an npm that died, or a wrapper), every line.
func errorLines(output string) []string {
	var errs, rest []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "npm warn") || strings.HasPrefix(line, "npm WARN") {
			continue
		}
		if p := npmPrefix.FindString(line); p != "" {
			errs = append(errs, strings.TrimSpace(line[len(p):]))
			continue
		}
		rest = append(rest, line)
	}
	if len(errs) > 0 {
		return errs
	}
	return rest
}

// firstTelling is the first line that says more than a bare code, cut to a length
// that fits in a sentence.
func firstTelling(lines []string, pattern *regexp.Regexp) string {
	best := ""
	for _, l := range lines {
		if !pattern.MatchString(l) {
			continue
		}
		l = strings.TrimPrefix(strings.TrimPrefix(l, "code "), "network ")
		if best == "" {
			best = l
		}
		if len(strings.Fields(l)) > 2 {
			best = l
			break
		}
	}
	return clip(best)
}

func lastOf(lines []string, otherwise string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if !strings.HasPrefix(lines[i], "A complete log") {
			return clip(lines[i])
		}
	}
	return clip(otherwise)
}

func clip(s string) string {
	const most = 160
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
