package admin

import (
	"fmt"
	"mime"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/config"
)

// LatestVersion names an agent's newest version.
const LatestVersion = "latest"

// Bounds of what callers name.
const (
	maxHomePath = 4096 // bytes
	maxOnly     = 1000 // paths of one restore
	maxKeyName  = 200  // bytes
	maxKey      = 16 << 10
	versionSize = 16 // hex digits
)

// ShortVersion is a version's ID without the zeros in front, which every operation
// takes too.
func ShortVersion(id string) string {
	if short := strings.TrimLeft(id, "0"); short != "" {
		return short
	}
	return id
}

// WholeVersion is the ID that a caller means, with the zeros in front; "latest" stays.
func WholeVersion(id string) (string, error) {
	id = strings.ToLower(id)
	if id == LatestVersion {
		return id, nil
	}
	if len(id) < 1 || len(id) > versionSize || strings.Trim(id, "0123456789abcdef") != "" {
		return "", invalid("that is no version's ID: want up to 16 hex digits, or latest", "`moltworker backup ls` lists the versions")
	}
	return strings.Repeat("0", versionSize-len(id)) + id, nil
}

// backedUp is the name that an agent has in the backup: that of one there is, or of
// one there was.
func (p *Plane) backedUp(name string) (string, error) {
	if ag, ok := p.opts.Agents.Agent(name); ok {
		return ag.Name(), nil
	}
	return name, config.CheckAgentName(name)
}

// theVersion resolves an agent and a version of it.
func (p *Plane) theVersion(name, id string) (string, string, error) {
	name, err := p.backedUp(name)
	if err != nil {
		return "", "", err
	}
	id, err = WholeVersion(id)
	return name, id, err
}

// homePath is a path relative to a home as versions have it; "" is the home.
func homePath(name string) (string, error) {
	if len(name) > maxHomePath || strings.ContainsRune(name, 0) || strings.HasPrefix(name, "/") {
		return "", invalid("want a path relative to the agent's home", "")
	}
	name = path.Clean(name)
	if name == ".." || strings.HasPrefix(name, "../") {
		return "", invalid("that path leaves the agent's home", "")
	}
	if name == "." {
		name = ""
	}
	return name, nil
}

// Escaped is a path as it stands in a URL's query, if its bytes are not UTF-8 and
// JSON would change them; else "".
func Escaped(path string) string {
	if utf8.ValidString(path) {
		return ""
	}
	return url.QueryEscape(path)
}

// Unescaped is the path that JSON has with [Escaped] beside it.
func Unescaped(path, escaped string) (string, error) {
	if escaped == "" {
		return path, nil
	}
	raw, err := url.QueryUnescape(escaped)
	if err != nil {
		return "", invalid("want a path as a URL's query has it", "")
	}
	return raw, nil
}

// Attachment is the Content-Disposition of a file to be kept under the last name of
// a path, which may be anything. Where the name could do harm or is not plain, it is
// changed.
func Attachment(name string) string {
	name = safeName(path.Base(name))
	return mime.FormatMediaType("attachment", map[string]string{"filename": name})
}

// maxFileName bounds a proposed name, in bytes.
const maxFileName = 150

// safeName leaves letters, digits and what is harmless to every file system, shell
// and reader of a name: nothing hidden, no markup, no path, no reversed text.
func safeName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-+@=, ", r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	name = strings.Trim(name, ". ")
	for len(name) > maxFileName {
		_, size := utf8.DecodeRuneInString(name) // the end tells what it is
		name = name[size:]
	}
	if name == "" || strings.Trim(name, "_") == "" {
		return "file"
	}
	return name
}

// exportName is what an exported agent's file is called.
func exportName(agent, id, recipient string) string {
	name := agent
	if id != LatestVersion {
		name += "-" + ShortVersion(id)
	}
	name += ".tar.gz"
	if recipient != "" {
		name += ".age"
	}
	return name
}

// ExportName is what the file of an export is to be called.
func ExportName(agent, version, recipient string) string {
	if version == "" {
		version = LatestVersion
	}
	return safeName(exportName(agent, version, recipient))
}

// count puts a number before a word.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
