package web

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/page"
)

const (
	shownEntries = 1000 // of a directory
	shownChanges = 1000 // of a comparison
)

// versionView is one version, and one of its directories.
type versionView struct {
	Agent   string
	ID      string // as it is given on
	Version backup.Version
	Parts   []admin.StatePart
	Dir     string
	Crumbs  []crumb
	Entries []entryView
	More    int // entries that are not shown
}

// crumb is a directory on the way to one.
type crumb struct{ Name, Path string }

// entryView is a file, directory or link as it is shown.
type entryView struct {
	backup.Entry
	Name      string // the last part of its path, as it is
	Dir, File bool
}

// Short is a version's ID as it is shown.
func (v versionView) Short(id string) string { return admin.ShortVersion(id) }

// At is the address of something about this version, with a path in it.
func (v versionView) At(what, key, path string) string {
	q := url.Values{"agent": {v.Agent}, "version": {v.ID}}
	if path != "" {
		q.Set(key, path)
	}
	return "/_admin/storage/" + what + "?" + q.Encode()
}

// findVersion gives what is known of a version.
func (s *site) findVersion(ctx context.Context, agent, id string) (backup.Version, error) {
	list, err := s.plane.BackupVersions(ctx, agent)
	if err != nil {
		return backup.Version{}, err
	}
	for i, v := range list {
		if v.ID == id || admin.ShortVersion(v.ID) == id || i == 0 && id == admin.LatestVersion {
			return v, nil
		}
	}
	return backup.Version{}, &admin.Error{Status: http.StatusNotFound, Kind: "not_found", Message: "There is no such version.", Remedy: "It may have been thinned out. The Storage page lists those there are."}
}

func (s *site) version(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookTime)
	defer cancel()
	v := &versionView{Agent: r.FormValue("agent"), Dir: r.FormValue("dir")}
	var err error
	if v.Version, err = s.findVersion(ctx, v.Agent, r.FormValue("version")); err != nil {
		return err
	}
	v.ID = v.Version.ID
	entries, err := s.plane.BackupContents(ctx, v.Agent, v.ID, v.Dir)
	if err != nil {
		return err
	}
	if v.Dir == "" {
		if v.Parts, err = s.plane.BackupParts(ctx, v.Agent, v.ID); err != nil {
			return err
		}
	}
	v.list(entries)
	s.pages.Write(w, r, http.StatusOK, "version.html", page.View{Title: "Version " + admin.ShortVersion(v.ID), Area: "storage", Data: v})
	return nil
}

// list makes directories come first, and the way to this one.
func (v *versionView) list(entries []backup.Entry) {
	at := ""
	for _, name := range strings.Split(v.Dir, "/") {
		if at = path.Join(at, name); name != "" {
			v.Crumbs = append(v.Crumbs, crumb{name, at})
		}
	}
	for _, dirs := range []bool{true, false} {
		for _, e := range entries {
			if (e.Kind == backup.KindDir) == dirs {
				v.Entries = append(v.Entries, entryView{e, path.Base(e.Path), dirs, e.Kind == backup.KindFile})
			}
		}
	}
	v.More = max(len(v.Entries)-shownEntries, 0)
	v.Entries = v.Entries[:len(v.Entries)-v.More]
}

// file sends a file of a version to be kept; what breaks off aborts the connection.
func (s *site) file(w http.ResponseWriter, r *http.Request) error {
	name := r.FormValue("path")
	body, size, err := s.plane.BackupFile(r.Context(), r.FormValue("agent"), r.FormValue("version"), name)
	if err != nil {
		return err
	}
	defer body.Close()
	page.Guard(w.Header())
	if err := admin.SendFile(w, name, body, size); err != nil {
		s.Log.Error("a file of a backup broke off", "agent", r.FormValue("agent"), "version", r.FormValue("version"), "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// archive begins the answer with the first byte that is written to it.
type archive struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (a *archive) Write(p []byte) (int, error) {
	if !a.begun {
		a.begun = true
		page.Guard(a.w.Header())
		admin.Attach(a.w.Header(), a.name)
	}
	return a.w.Write(p)
}

var _ io.Writer = (*archive)(nil)

// export sends an agent as one file.
func (s *site) export(w http.ResponseWriter, r *http.Request) error {
	name, id, recipient := r.PostFormValue("agent"), r.PostFormValue("version"), strings.TrimSpace(r.PostFormValue("recipient"))
	out := &archive{w: w, name: admin.ExportName(name, id, recipient)}
	err := s.plane.BackupExport(r.Context(), name, id, recipient, out)
	if err != nil && out.begun {
		s.Log.Error("the export of an agent broke off", "agent", name, "err", err)
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return back(w, r, storagePath(name), err, "")
	}
	return nil
}

// diffView is what differs between two versions.
type diffView struct {
	Agent    string
	From, To backup.Version
	Changes  []backup.Change
	Total    int
	Counts   map[string]int // by what changed
}

// Short is a version's ID as it is shown.
func (v diffView) Short(id string) string { return admin.ShortVersion(id) }

// Word says what became of something.
func (v diffView) Word(what string) string {
	if what == "content" {
		return "changed"
	}
	return what
}

func (s *site) diff(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookTime)
	defer cancel()
	v := &diffView{Agent: r.FormValue("agent"), Counts: map[string]int{}}
	var err error
	if v.From, err = s.findVersion(ctx, v.Agent, r.FormValue("from")); err != nil {
		return err
	}
	if v.To, err = s.findVersion(ctx, v.Agent, r.FormValue("to")); err != nil {
		return err
	}
	if v.From.Seq > v.To.Seq {
		v.From, v.To = v.To, v.From
	}
	if v.Changes, err = s.plane.BackupDiff(ctx, v.Agent, v.From.ID, v.To.ID); err != nil {
		return err
	}
	for _, c := range v.Changes {
		v.Counts[c.What]++
	}
	v.Total = len(v.Changes)
	v.Changes = v.Changes[:min(v.Total, shownChanges)]
	s.pages.Write(w, r, http.StatusOK, "diff.html", page.View{Title: "What differs", Area: "storage", Data: v})
	return nil
}

// restoreView asks how a version is to be restored.
type restoreView struct {
	Agent   string
	Version backup.Version
	Short   string
	Only    string // a path, as it is
	Escaped string // the same as a form holds it
}

func (s *site) askRestore(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookTime)
	defer cancel()
	v := &restoreView{Agent: r.FormValue("agent"), Only: r.FormValue("only")}
	var err error
	if v.Version, err = s.findVersion(ctx, v.Agent, r.FormValue("version")); err != nil {
		return err
	}
	v.Short, v.Escaped = admin.ShortVersion(v.Version.ID), url.QueryEscape(v.Only)
	s.pages.Write(w, r, http.StatusOK, "restore.html", page.View{Title: "Restore", Area: "storage", Data: v})
	return nil
}
