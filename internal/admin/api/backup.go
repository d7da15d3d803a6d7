package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
)

// maxOrder bounds the body of a request for the backup: the longest is a restore of
// a thousand paths.
const maxOrder = 8 << 20

// order reads a request's body, which may be empty, to its end: only then is it
// noticed that the client of something long is gone.
func order(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOrder))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &admin.Error{Status: http.StatusRequestEntityTooLarge, Kind: "invalid", Message: "that is too long"}
	case err != nil:
		return invalid("the request did not arrive whole")
	case len(body) == 0:
		return nil
	}
	if json.Unmarshal(body, into) != nil { // its words may quote what is secret
		return invalid("want a JSON object as the document describes it")
	}
	return nil
}

func (a *routes) backup(w http.ResponseWriter, r *http.Request) error {
	o, err := a.Backup(r.Context())
	return answer(w, http.StatusOK, o, err)
}

func (a *routes) backupNow(w http.ResponseWriter, r *http.Request) error {
	v, err := a.BackupNow(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusOK, v, err)
}

// Versions are the versions of an agent, newest first. What each of them left out is
// counted here and named in the answer of the backup that made it.
type Versions struct {
	Agent    string           `json:"agent"`
	Versions []backup.Version `json:"versions"`
}

func (a *routes) versions(w http.ResponseWriter, r *http.Request) error {
	list, err := a.BackupVersions(r.Context(), r.PathValue("agent"))
	out := Versions{Agent: r.PathValue("agent"), Versions: []backup.Version{}}
	for _, v := range list {
		v.Skipped = nil
		out.Versions = append(out.Versions, v)
	}
	return answer(w, http.StatusOK, out, err)
}

func (a *routes) parts(w http.ResponseWriter, r *http.Request) error {
	list, err := a.BackupParts(r.Context(), r.PathValue("agent"), r.PathValue("version"))
	return answer(w, http.StatusOK, map[string][]admin.StatePart{"parts": list}, err)
}

// Entry is a file, directory or link of a version.
type Entry struct {
	backup.Entry
	// Escaped is the path as it stands in a URL, where its bytes are not UTF-8, which
	// JSON cannot hold.
	Escaped string `json:"escaped,omitempty"`
}

// Contents is one directory of a version, by name.
type Contents struct {
	Entries []Entry `json:"entries"`
	Total   int     `json:"total"` // how many there are
}

// maxEntries bounds how many entries or changes one answer has.
const maxEntries = 10_000

func (a *routes) contents(w http.ResponseWriter, r *http.Request) error {
	list, err := a.BackupContents(r.Context(), r.PathValue("agent"), r.PathValue("version"), r.URL.Query().Get("dir"))
	out := Contents{Entries: []Entry{}, Total: len(list)}
	for _, e := range list[:min(len(list), maxEntries)] {
		out.Entries = append(out.Entries, Entry{e, admin.Escaped(e.Path)})
	}
	return answer(w, http.StatusOK, out, err)
}

// Change is a difference between two versions.
type Change struct {
	backup.Change
	Escaped string `json:"escaped,omitempty"` // as in [Entry]
}

// Changes are the differences between two versions.
type Changes struct {
	Changes []Change `json:"changes"`
	Total   int      `json:"total"`
}

func (a *routes) diff(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	list, err := a.BackupDiff(r.Context(), r.PathValue("agent"), q.Get("from"), q.Get("to"))
	out := Changes{Changes: []Change{}, Total: len(list)}
	for _, c := range list[:min(len(list), maxEntries)] {
		out.Changes = append(out.Changes, Change{c, admin.Escaped(c.Path)})
	}
	return answer(w, http.StatusOK, out, err)
}

func (a *routes) prune(w http.ResponseWriter, r *http.Request) error {
	report, err := a.BackupPrune(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusOK, report, err)
}

func (a *routes) claim(w http.ResponseWriter, r *http.Request) error {
	err := a.BackupClaim(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusOK, Done{true, "This machine writes the agent's versions now."}, err)
}

func (a *routes) unlock(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Key string `json:"key"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	err := a.BackupUnlock(r.Context(), req.Key)
	return answer(w, http.StatusOK, Done{true, "The backup is unlocked."}, err)
}

// Keys are what opens the backup.
type Keys struct {
	Keys []admin.BackupKey `json:"keys"`
}

func (a *routes) keys(w http.ResponseWriter, r *http.Request) error {
	list, err := a.BackupKeys(r.Context())
	return answer(w, http.StatusOK, Keys{list}, err)
}

func (a *routes) addKey(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Name      string `json:"name"`
		Recipient string `json:"recipient"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	k, err := a.BackupAddKey(r.Context(), req.Name, req.Recipient)
	return answer(w, http.StatusCreated, k, err)
}

// NewKey is a key that was made; its secret half is in this answer and nowhere else.
type NewKey struct {
	admin.BackupKey
	Secret string `json:"secret"`
}

func (a *routes) newKey(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Name string `json:"name"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	k, secret, err := a.BackupNewKey(r.Context(), req.Name)
	return answer(w, http.StatusCreated, NewKey{k, secret}, err)
}

func (a *routes) removeKey(w http.ResponseWriter, r *http.Request) error {
	return done(w, a.BackupRemoveKey(r.Context(), r.PathValue("id")))
}
