package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"syscall"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/remedy"
)

// take writes one entry of the source, or says why not.
func (w *writer) take(e entry, content io.Reader) error {
	to, ours := w.b.layout.to(e.path)
	if !ours {
		if e.kind != isDir {
			w.drop(topOf(e.path), "it is outside of the agent's state", e)
		}
		return nil
	}
	if to == "." || w.b.layout.whole && to == readmeName {
		return nil
	}
	if why, what := w.refuse(to, e); why != "" {
		w.drop(what, why, e)
		return nil
	}
	w.noteLegacy(to)
	switch e.kind {
	case isDir:
		return w.putDir(to, e)
	case isFile:
		return w.putFile(to, e, content)
	case isHardLink:
		return w.putHardLink(to, e)
	}
	if len(w.links) >= maxLinks {
		return fmt.Errorf("%w: it has more than %d symbolic links", ErrHostile, maxLinks)
	}
	from := e.path
	e.path = to
	e.target = w.linkTarget(from, to, e.target)
	w.links = append(w.links, e)
	return nil
}

func topOf(p string) string {
	parts := strings.SplitN(p, "/", 3)
	return quote(path.Join(parts[:min(2, len(parts))]...))
}

var (
	configCopy = regexp.MustCompile(`^\.openclaw/(openclaw|clawdbot|moltbot|moldbot)\.json(\.|$)`)
	lockFile   = regexp.MustCompile(`\.(lock|pid)$`)
)

// refuse says why an entry is not taken, and under what name that is reported.
func (w *writer) refuse(to string, e entry) (why, what string) {
	inState := strings.HasPrefix(to, stateDir+"/") && openclaw.PartOf(to) != "workspace"
	switch {
	case e.kind == isSpecial:
		return "it is a device, FIFO or socket", quote(to)
	case openclaw.Regenerated(to, e.kind == isDir):
		return "it is made again by itself", openclaw.PartOf(to) + " (caches and temporary files)"
	case configCopy.MatchString(to) && e.kind != isDir:
		if to == stateDir+"/"+w.b.layout.config {
			if w.b.config == nil {
				return "it could not be read", quote(to)
			}
			return "it is written anew, see what was changed", quote(to)
		}
		return "it is another copy of the configuration, with its secrets", quote(to)
	case inState && lockFile.MatchString(to) && openclaw.PartOf(to) != "plugins" && openclaw.PartOf(to) != "skills":
		return "it is a lock of a process that is gone", openclaw.PartOf(to) + " (locks)"
	}
	return "", ""
}

func (w *writer) drop(what, why string, e entry) { w.dropped.add(what, why, max(e.size, 0)) }

func (w *writer) keep(to string, bytes int64) {
	w.files++
	w.bytes += bytes
	w.kept.add(openclaw.PartOf(to), "", bytes)
}

// noteLegacy notices state in forms that only OpenClaw's doctor takes over.
func (w *writer) noteLegacy(to string) {
	part := openclaw.PartOf(to)
	w.doctor = w.doctor || strings.HasSuffix(to, ".jsonl") && part == "conversations" || strings.HasPrefix(to, stateDir+"/credentials/") || strings.HasSuffix(to, "/auth-profiles.json")
	if part == "channel logins" && strings.Contains(to, "/whatsapp/") {
		w.warnings.add("logins of WhatsApp came along, as the agent itself needs them: stop the old agent before this one starts, or both lose the connection")
	}
}

func (w *writer) putDir(to string, e entry) error {
	if err := w.root.MkdirAll(to, 0o755); err != nil {
		return w.failed("make directory", to, err)
	}
	if err := w.root.Chmod(to, e.mode&0o755|0o700); err != nil {
		return w.failed("make directory", to, err)
	}
	if !e.time.IsZero() && len(w.dirTimes) < maxDirs {
		w.dirTimes = append(w.dirTimes, entry{path: to, time: e.time})
	}
	w.keep(to, 0)
	return nil
}

func (w *writer) failed(what, to string, err error) error {
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTEMPTY) {
		return remedy.With(fmt.Errorf("%w: %s is there as a directory and as something else", ErrHostile, quote(to)), "make the archive again from the agent's own directory")
	}
	return fmt.Errorf("%s %s: %w", what, quote(to), err)
}

// create makes a file in place of what is there; an archive may hold a name twice.
func (w *writer) create(to string, mode os.FileMode) (*os.File, error) {
	if err := w.root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return nil, w.failed("make directory", path.Dir(to), err)
	}
	f, err := w.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode&0o755|0o600)
	if errors.Is(err, fs.ErrExist) {
		if err := w.root.Remove(to); err != nil {
			return nil, w.failed("replace", to, err)
		}
		w.warnings.addf("%s is in the archive more than once: the last one counts", quote(to))
		f, err = w.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode&0o755|0o600)
	}
	if err != nil {
		return nil, w.failed("write", to, err)
	}
	return f, nil
}

func (w *writer) putFile(to string, e entry, content io.Reader) error {
	how := w.scrubbing(to)
	if text, ok := w.b.texts[e.path]; ok {
		content, how = bytes.NewReader(text), thorough
	}
	if text, ok, err := w.movedText(to, e, content); err != nil {
		return err
	} else if ok {
		content = bytes.NewReader(text)
	}
	f, err := w.create(to, e.mode)
	if err != nil {
		return err
	}
	got, err := w.scrub.copy(f, content, how, to)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", quote(to), err)
	}
	if !e.time.IsZero() {
		if err := w.root.Chtimes(to, e.time, e.time); err != nil {
			return fmt.Errorf("set the time of %s: %w", quote(to), err)
		}
	}
	if got.replaced > 0 || w.b.texts[e.path] != nil && bytes.Contains(w.b.texts[e.path], []byte(Placeholder)) {
		w.changed.add(quote(to), "secrets in it were replaced by "+Placeholder, got.size)
	}
	w.warnings.add(got.warning(quote(to)))
	w.keep(to, got.size)
	return nil
}

// scrubbing chooses how a file is looked through.
func (w *writer) scrubbing(to string) scrubbing {
	switch {
	case !strings.HasPrefix(to, stateDir+"/"), openclaw.PartOf(to) == "workspace", openclaw.PartOf(to) == "skills":
		return known // the agent's own work: it may be about such things
	case strings.HasPrefix(to, stateDir+"/credentials/") && path.Base(to) != "oauth.json":
		return known // keys of a login that look random by nature
	case openclaw.PartOf(to) == "plugins", openclaw.PartOf(to) == "media":
		return known
	}
	return thorough
}

// movedText reads one of OpenClaw's own JSON files that names files, such as the list
// of sessions, with the paths of the old machine rewritten.
func (w *writer) movedText(to string, e entry, content io.Reader) ([]byte, bool, error) {
	part := openclaw.PartOf(to)
	if path.Ext(to) != ".json" || e.size > 16<<20 || part != "conversations" && part != "devices and schedules" {
		return nil, false, nil
	}
	text, err := io.ReadAll(io.LimitReader(content, 16<<20))
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", quote(e.path), err)
	}
	moved := w.paths.Replace(string(text))
	if moved != string(text) && json.Valid(text) {
		w.changed.add(quote(to), "paths of the old machine were rewritten", e.size)
		return []byte(moved), true, nil
	}
	return text, true, nil
}
