package admintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
	"github.com/moltworker/moltworker/internal/openclaw"
)

// Backups keeps versions of agents in memory. It refuses what the real one refuses.
// An agent's state is what Write puts there.
type Backups struct {
	now func() time.Time

	mu       sync.Mutex // guards what follows
	overview admin.BackupOverview
	agents   map[string]*kept
	keys     []admin.BackupKey
	secrets  map[string]bool // secret keys that open it
	changed  chan struct{}
	fails    map[string]error // by method
	steps    chan struct{}    // what takes long waits for it at each step, unless nil
}

// kept is what is known of one agent.
type kept struct {
	live     map[string]File
	versions []keptVersion // oldest first
	fenced   bool
	damage   []backup.Damage
	drill    *admin.Drill
	verified *backup.VerifyReport
	since    time.Time
	safe     time.Time
}

type keptVersion struct {
	backup.Version
	files map[string]File
}

// File is one file of an agent's state.
type File struct {
	Data    string
	Time    time.Time
	Symlink string // to where; Data is of no meaning then
}

// NewBackups makes a backup that is ready, off this machine, and has a recovery key.
// It knows the agents that are named.
func NewBackups(now func() time.Time, names ...string) *Backups {
	b := &Backups{now: now, agents: map[string]*kept{}, changed: make(chan struct{}), fails: map[string]error{}, secrets: map[string]bool{}}
	b.overview = admin.BackupOverview{
		State: admin.BackupReady, Where: "s3://moltbot-data/moltworker at 0123.r2.example", OffMachine: true, Since: now(),
		Policy: backup.Policy{Last: 48, Hourly: 48, Daily: 30, Weekly: 12, Monthly: 12},
	}
	b.keys = []admin.BackupKey{{ID: "00000000000000aa", Name: "host box", Recipient: "age1host", Added: now(), Ours: true}}
	for _, name := range names {
		b.agents[name] = &kept{live: map[string]File{}, since: now()}
	}
	return b
}

// Set changes what is said of the backup as a whole.
func (b *Backups) Set(change func(*admin.BackupOverview)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.overview)
	b.tell()
}

// Write puts a file into an agent's state; data is "" for a removal.
func (b *Backups) Write(name, path, data string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if data == "" {
		delete(b.agents[name].live, path)
	} else {
		b.agents[name].live[path] = File{Data: data, Time: b.now()}
	}
	b.tell()
}

// Link puts a symbolic link into an agent's state.
func (b *Backups) Link(name, path, target string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.agents[name].live[path] = File{Symlink: target, Time: b.now()}
}

// Live is what an agent has at a path now.
func (b *Backups) Live(name, path string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.agents[name] == nil {
		return ""
	}
	return b.agents[name].live[path].Data
}

// Fence has another host write an agent's versions.
func (b *Backups) Fence(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.agents[name].fenced, b.agents[name].since = true, b.now()
	b.tell()
}

// Damage breaks something in the store that the versions need.
func (b *Backups) Damage(name string, d backup.Damage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.agents[name].damage = append(b.agents[name].damage, d)
}

// Fail has a method fail, by its name, until it is called with nil.
func (b *Backups) Fail(method string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails[method] = err
	b.tell()
}

// Opens has a secret key open the repository, as Unlock asks.
func (b *Backups) Opens(secret string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.secrets[secret] = true
}

// Step has what takes long wait at each step until the channel receives.
func (b *Backups) Step(steps chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps = steps
}

// tell wakes those who wait for a change. Callers hold mu.
func (b *Backups) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// find is an agent that is or was, if the backup can be used at all. Callers hold mu.
func (b *Backups) find(method, name string) (*kept, error) {
	if err := b.fails[method]; err != nil {
		return nil, err
	}
	if b.overview.State == admin.BackupLocked {
		return nil, fmt.Errorf("open the repository: %w", backup.ErrKey)
	}
	k := b.agents[name]
	if k == nil {
		return nil, fmt.Errorf("%w: %s", agent.ErrNoAgent, name)
	}
	return k, nil
}

// at is a version of an agent. Callers hold mu.
func (b *Backups) at(method, name, id string) (*kept, keptVersion, error) {
	k, err := b.find(method, name)
	if err != nil {
		return nil, keptVersion{}, err
	}
	for i := len(k.versions) - 1; i >= 0; i-- {
		if id == admin.LatestVersion || k.versions[i].ID == id {
			return k, k.versions[i], nil
		}
	}
	return k, keptVersion{}, fmt.Errorf("%w: %s", backup.ErrNoVersion, id)
}

// Overview says what Set said, and how the agents are.
func (b *Backups) Overview() admin.BackupOverview {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.overview
	for _, key := range b.keys {
		o.Recovery = o.Recovery || !key.Ours
	}
	for _, name := range slices.Sorted(maps.Keys(b.agents)) {
		o.Agents = append(o.Agents, admin.AgentBackup{Agent: name, Status: b.status(name), Drill: b.agents[name].drill, Verified: b.agents[name].verified})
	}
	return o
}

// status is how an agent's backup is. Callers hold mu.
func (b *Backups) status(name string) safekeeper.Status {
	k := b.agents[name]
	s := safekeeper.Status{State: safekeeper.StateStarting, Since: k.since, Mode: "inotify", LastSafe: k.safe}
	if n := len(k.versions); n > 0 {
		v := k.versions[n-1]
		s.Last, s.State = &v.Version, safekeeper.StateSafe
		if !maps.Equal(v.files, k.live) {
			s.State, s.Pending = safekeeper.StateChanged, b.now()
		}
	}
	switch err := b.fails["Now"]; {
	case k.fenced:
		s.State, s.Error = safekeeper.StateFenced, backup.ErrFenced.Error()
	case err != nil:
		s.State, s.Error, s.Remedy, s.RetryAt = safekeeper.StateBehind, err.Error(), admin.AsError(err).Remedy, b.now().Add(8*time.Second)
	}
	return s
}

// Changed is closed with the next change.
func (b *Backups) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Now makes a version.
func (b *Backups) Now(_ context.Context, name, reason string) (backup.Version, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, err := b.find("Now", name)
	if err != nil {
		return backup.Version{}, err
	}
	return b.snapshot(k, name, reason)
}

// snapshot makes a version, unless nothing has changed. Callers hold mu.
func (b *Backups) snapshot(k *kept, name, reason string) (backup.Version, error) {
	if k.fenced {
		return backup.Version{}, fmt.Errorf("back up %s: %w", name, backup.ErrFenced)
	}
	now := b.now()
	k.safe = now
	v := keptVersion{files: maps.Clone(k.live)}
	v.Version = backup.Version{Seq: 1, Agent: name, Time: now, Host: "box", Writer: "w1", Epoch: 1, Reason: reason}
	before := map[string]File{}
	if n := len(k.versions); n > 0 {
		last := k.versions[n-1]
		if maps.Equal(last.files, v.files) {
			b.tell()
			return last.Version, nil
		}
		v.Seq, v.Parent, before = last.Seq+1, last.Seq, last.files
	}
	v.ID = fmt.Sprintf("%016x", v.Seq)
	for path, f := range v.files {
		v.Files++
		v.Bytes += int64(len(f.Data))
		if before[path] != f {
			v.Changed++
			v.Read += int64(len(f.Data))
		}
	}
	v.Stored, v.Objects, v.Held, v.Took = v.Read/2+512, 2, 21*time.Millisecond, 900*time.Millisecond
	k.versions = append(k.versions, v)
	k.since = now
	b.tell()
	return v.Version, nil
}

// Versions lists what Now made, newest first.
func (b *Backups) Versions(_ context.Context, name string) ([]backup.Version, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, err := b.find("Versions", name)
	if err != nil {
		return nil, err
	}
	var list []backup.Version
	for _, v := range slices.Backward(k.versions) {
		list = append(list, v.Version)
	}
	return list, nil
}

// Contents lists a directory.
func (b *Backups) Contents(_ context.Context, name, id, dir string) ([]backup.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, v, err := b.at("Contents", name, id)
	if err != nil {
		return nil, err
	}
	prefix := dir + "/"
	if dir == "" {
		prefix = ""
	}
	found := map[string]backup.Entry{}
	for path, f := range v.files {
		rest, below := strings.CutPrefix(path, prefix)
		if !below {
			continue
		}
		first, _, isDir := strings.Cut(rest, "/")
		if isDir {
			found[first] = backup.Entry{Path: prefix + first, Kind: backup.KindDir, Mode: fs.ModeDir | 0o700, Time: v.Time}
			continue
		}
		found[first] = entryOf(path, f)
	}
	if len(found) == 0 && dir != "" {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	var list []backup.Entry
	for _, first := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[first])
	}
	return list, nil
}

func entryOf(path string, f File) backup.Entry {
	e := backup.Entry{Path: path, Kind: backup.KindFile, Mode: 0o600, Time: f.Time, Size: int64(len(f.Data))}
	if f.Symlink != "" {
		e.Kind, e.Size, e.Target = backup.KindSymlink, 0, f.Symlink
	}
	return e
}

// Parts counts.
func (b *Backups) Parts(_ context.Context, name, id string) ([]admin.StatePart, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, v, err := b.at("Parts", name, id)
	if err != nil {
		return nil, err
	}
	var list []admin.StatePart
	for _, part := range openclaw.State() {
		p := admin.StatePart{Name: part.Name, What: part.What, Critical: part.Critical}
		for path, f := range v.files {
			if openclaw.PartOf(path) == part.Name {
				p.Files, p.Bytes = p.Files+1, p.Bytes+int64(len(f.Data))
				if f.Time.After(p.Changed) {
					p.Changed = f.Time
				}
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// File opens a file. One that Fail("File") breaks ends in the middle.
func (b *Backups) File(_ context.Context, name, id, path string) (io.ReadCloser, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	broken := b.fails["File"]
	delete(b.fails, "File")
	_, v, err := b.at("File", name, id)
	if err != nil {
		return nil, 0, err
	}
	f, ok := v.files[path]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if f.Symlink != "" {
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is not a file")}
	}
	body := io.Reader(strings.NewReader(f.Data))
	if broken != nil {
		body = io.MultiReader(strings.NewReader(f.Data[:len(f.Data)/2]), failing{broken})
	}
	return io.NopCloser(body), int64(len(f.Data)), nil
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Diff compares.
func (b *Backups) Diff(_ context.Context, name, from, to string) ([]backup.Change, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, old, err := b.at("Diff", name, from)
	if err != nil {
		return nil, err
	}
	_, now, err := b.at("Diff", name, to)
	if err != nil {
		return nil, err
	}
	return changes(old.files, now.files), nil
}

func changes(old, now map[string]File) []backup.Change {
	var list []backup.Change
	all := maps.Clone(old)
	maps.Copy(all, now)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		was, had := old[path]
		is, has := now[path]
		c := backup.Change{Path: path, What: "content", From: int64(len(was.Data)), To: int64(len(is.Data))}
		switch {
		case had && has && was == is:
			continue
		case !had:
			c.What, c.From = "added", -1
		case !has:
			c.What, c.To = "removed", -1
		case was.Data == is.Data:
			c.What = "metadata"
		}
		list = append(list, c)
	}
	return list
}

// Export writes something that looks like an archive; one that Fail("Export") breaks
// ends in the middle.
func (b *Backups) Export(_ context.Context, name, id, recipient string, w io.Writer) error {
	b.mu.Lock()
	broken := b.fails["Export"]
	delete(b.fails, "Export")
	_, v, err := b.at("Export", name, id)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "archive of %s %s for %q\n", name, v.ID, recipient)
	for _, path := range slices.Sorted(maps.Keys(v.files)) {
		fmt.Fprintf(&out, "%s\n", path)
	}
	if broken != nil {
		out.Truncate(out.Len() / 2)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return err
	}
	return broken
}
