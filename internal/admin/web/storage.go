package web

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/page"
)

// Storage is what of the control plane the pages about versions use.
type Storage interface {
	Backup(ctx context.Context) (admin.BackupOverview, error)
	WatchBackup(ctx context.Context) (<-chan struct{}, error)
	SyncStorage(ctx context.Context) (admin.Storage, error)

	BackupVersions(ctx context.Context, name string) ([]backup.Version, error)
	BackupContents(ctx context.Context, name, version, dir string) ([]backup.Entry, error)
	BackupParts(ctx context.Context, name, version string) ([]admin.StatePart, error)
	BackupFile(ctx context.Context, name, version, path string) (io.ReadCloser, int64, error)
	BackupDiff(ctx context.Context, name, from, to string) ([]backup.Change, error)
	BackupExport(ctx context.Context, name, version, recipient string, w io.Writer) error

	BackupNow(ctx context.Context, name string) (backup.Version, error)
	BackupRestore(ctx context.Context, name, version string, to admin.RestoreTo, tell func(string)) (admin.Restored, error)
	BackupVerify(ctx context.Context, name string, full bool, tell func(string)) (backup.VerifyReport, error)
	BackupRepair(ctx context.Context, name string, tell func(string)) (backup.RepairReport, error)
	BackupPrune(ctx context.Context, name string) (backup.PruneReport, error)
	BackupDrill(ctx context.Context, name string, tell func(string)) (admin.Drill, error)
	BackupClaim(ctx context.Context, name string) error

	BackupUnlock(ctx context.Context, key string) error
	BackupKeys(ctx context.Context) ([]admin.BackupKey, error)
	BackupAddKey(ctx context.Context, name, recipient string) (admin.BackupKey, error)
	BackupNewKey(ctx context.Context, name string) (admin.BackupKey, string, error)
	BackupRemoveKey(ctx context.Context, id string) error
}

const (
	versionsPage = 50               // versions on a page
	shelfLife    = time.Minute      // how old a list of versions may be
	shelfSize    = 64               // agents whose lists are kept
	lookTime     = 20 * time.Second // that a page waits for the store
)

// storageView is the storage page.
type storageView struct {
	chosen
	Backup   admin.BackupOverview
	Tone     string // of the whole
	Sentence string
	List     []agentBackup // of all agents
	Versions []backup.Version
	Total    int    // versions there are
	Before   string // of the page after these, "" at the end
	First    bool   // the newest are shown
	Here     string // what the page was asked for
	Days     *days
	Listed   bool         // versions can be listed
	Problem  *admin.Error // why there are none

	Keys       []admin.BackupKey
	KeyProblem *admin.Error
}

func (s *site) storage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewStorage(r)
	if err != nil {
		return err
	}
	if v.Backup.State == admin.BackupReady || v.Backup.State == admin.BackupAway {
		ctx, cancel := context.WithTimeout(r.Context(), lookTime)
		defer cancel()
		if v.Keys, err = s.plane.BackupKeys(ctx); err != nil {
			v.KeyProblem = admin.AsError(err)
		}
	}
	s.pages.Write(w, r, http.StatusOK, "storage.html", page.View{Title: "Storage", Area: "storage", Data: v})
	return nil
}

func (s *site) storagePart(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewStorage(r)
	if err != nil {
		return err
	}
	s.pages.Part(w, r, "storage-part", v)
	return nil
}

func (s *site) viewStorage(r *http.Request) (*storageView, error) {
	o, err := s.plane.Backup(r.Context())
	if err != nil {
		return nil, err
	}
	v := &storageView{Backup: o, Tone: backupTone(o.State), Sentence: o.Sentence()}
	v.Agent, v.Path = r.FormValue("agent"), "/_admin/storage"
	for _, a := range o.Agents {
		v.Agents = append(v.Agents, a.Agent)
		v.List = append(v.List, viewBackup(a, s.work.of(a.Agent, s.Now()), s.Now()))
	}
	if v.Agent == "" && slices.Contains(v.Agents, "main") {
		v.Agent = "main"
	} else if v.Agent == "" && len(v.Agents) > 0 {
		v.Agent = v.Agents[0]
	}
	i := slices.IndexFunc(o.Agents, func(a admin.AgentBackup) bool { return a.Agent == v.Agent })
	if i < 0 || o.State == admin.BackupOff || o.State == admin.BackupLocked || o.State == admin.BackupStarting {
		return v, nil
	}
	v.Listed = true
	all, err := s.versions(r.Context(), o.Agents[i])
	if err != nil {
		v.Problem = admin.AsError(err)
		return v, nil
	}
	v.Days = daysOf(all, s.Now())
	v.shelve(all, r.FormValue("before"))
	return v, nil
}

// shelve chooses the versions of one page: those before a number.
func (v *storageView) shelve(all []backup.Version, before string) {
	v.Total, v.First = len(all), true
	if seq, err := strconv.ParseUint(before, 10, 64); err == nil {
		v.First, v.Here = false, before
		for len(all) > 0 && all[0].Seq >= seq {
			all = all[1:]
		}
	}
	v.Versions = all[:min(len(all), versionsPage)]
	if len(all) > versionsPage {
		v.Before = strconv.FormatUint(all[versionsPage-1].Seq, 10)
	}
}

// shelf keeps agents' lists of versions for a while: a page asks for them anew with
// every event, and a store is slow and costs.
type shelf struct {
	mu    sync.Mutex // guards lists
	lists map[string]shelved
}

type shelved struct {
	last string // the newest version's ID
	at   time.Time
	list []backup.Version
}

// versions are those of an agent, to a caller who may read storage.
func (s *site) versions(ctx context.Context, a admin.AgentBackup) ([]backup.Version, error) {
	last := ""
	if a.Last != nil {
		last = a.Last.ID
	}
	s.shelf.mu.Lock()
	known, ok := s.shelf.lists[a.Agent]
	s.shelf.mu.Unlock()
	if ok && known.last == last && s.Now().Sub(known.at) < shelfLife {
		return known.list, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	list, err := s.plane.BackupVersions(ctx, a.Agent)
	if err != nil {
		return nil, err
	}
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	if len(s.shelf.lists) >= shelfSize {
		clear(s.shelf.lists)
	}
	s.shelf.lists[a.Agent] = shelved{last, s.Now(), list}
	return list, nil
}

// forget has the next page ask for an agent's versions.
func (s *shelf) forget(agent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lists, agent)
}
