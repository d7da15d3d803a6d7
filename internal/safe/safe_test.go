package safe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/blob/mem"
	"github.com/moltworker/moltworker/internal/migrate"
)

// standIn is an agent as backup sees one: a home, and a lock on it.
type standIn struct {
	name, home string
	mu         sync.Mutex // held while nothing may write
	replaced   int
	runs       chan bool
}

func (a *standIn) Name() string { return a.name }
func (a *standIn) Home() string { return a.home }
func (a *standIn) Runs(ctx context.Context) <-chan bool {
	runs := make(chan bool)
	go func() {
		defer close(runs)
		for {
			select {
			case now := <-a.runs:
				runs <- now
			case <-ctx.Done():
				return
			}
		}
	}()
	return runs
}

func (a *standIn) Hold(ctx context.Context, do func() error) error {
	for !a.mu.TryLock() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer a.mu.Unlock()
	return do()
}

func (a *standIn) Replace(ctx context.Context, do func() error) error {
	a.replaced++
	return a.Hold(ctx, do)
}

func (a *standIn) write(t *testing.T, path, content string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	path = filepath.Join(a.home, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func (a *standIn) read(path string) string {
	data, err := os.ReadFile(filepath.Join(a.home, path))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// world is one host with agents, on a store that several may share.
type world struct {
	*Safe
	t      *testing.T
	dir    string
	agents map[string]*standIn
	key    string // the recovery key that was shown
	tried  func(home string) (Trial, error)
	kept   map[string]string // secrets
	stop   func()
}

func newWorld(t *testing.T, store blob.Store) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), agents: map[string]*standIn{}, kept: map[string]string{}}
	w.tried = func(string) (Trial, error) { return Trial{Databases: 3, Booted: time.Second}, nil }
	key, err := backup.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	w.Safe, err = New(Options{
		Dir: filepath.Join(w.dir, "backup"), Store: func() (blob.Store, error) { return store, nil }, Where: "memory", Key: key,
		Recovery: func(key string) { w.key = key }, Policy: backup.Policy{Last: 100},
		Leave: func(path string, _ bool) bool { return strings.HasPrefix(path, "cache") },
		Parts: []Part{{Name: "notes", What: "notes", Critical: true}, {Name: "all else"}},
		PartOf: func(path string) string {
			return map[bool]string{true: "notes", false: "all else"}[strings.HasPrefix(path, "notes")]
		},
		Create: w.create, Bucket: NoBucket,
		Try:       func(_ context.Context, home string, _ func(string)) (Trial, error) { return w.tried(home) },
		PutSecret: func(_ context.Context, _, name, value string) error { w.kept[name] = value; return nil },
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	w.stop = func() { cancel(); running.Wait() }
	t.Cleanup(w.stop)
	return w
}

func (w *world) create(_ context.Context, name string, fill func(home string) error) (string, error) {
	home := filepath.Join(w.dir, name, "home")
	if err := os.MkdirAll(filepath.Dir(home), 0o700); err != nil {
		return "", err
	}
	if err := fill(home); err != nil {
		return "", err
	}
	w.attach(name)
	return "http://" + name, nil
}

func (w *world) attach(name string) *standIn {
	w.t.Helper()
	a := &standIn{name: name, home: filepath.Join(w.dir, name, "home"), runs: make(chan bool, 1)}
	if err := os.MkdirAll(a.home, 0o700); err != nil {
		w.t.Fatal(err)
	}
	a.runs <- true
	w.agents[name] = a
	w.Attach(a)
	return a
}

// until waits for something that the overview says.
func (w *world) until(what string, holds func(admin.BackupOverview) bool) admin.BackupOverview {
	w.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		changed := w.Changed()
		o := w.Overview()
		if holds(o) {
			return o
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatalf("never %s: %+v", what, o)
		}
	}
}

func (w *world) ready() {
	w.t.Helper()
	w.until("ready", func(o admin.BackupOverview) bool { return o.State == admin.BackupReady })
}

func (w *world) now(name string) backup.Version {
	w.t.Helper()
	w.ready()
	v, err := w.Now(w.t.Context(), name, "a test")
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) versionsOf(name string) []backup.Version {
	w.t.Helper()
	list, err := w.Versions(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func quiet(string) {}

// TestChangesAreStoredByThemselves has somebody write, and do nothing else.
func TestChangesAreStoredByThemselves(t *testing.T) {
	w := newWorld(t, mem.New())
	a := w.attach("main")
	first := w.now("main")
	a.write(t, "notes/a", "one")
	w.until("stored", func(o admin.BackupOverview) bool {
		last := o.Agents[0].Last
		return o.Agents[0].State == safekeeper.StateSafe && last != nil && last.Seq > first.Seq
	})
	if w.key == "" || !w.Overview().Recovery {
		t.Error("no recovery key was shown")
	}
	content, size, err := w.File(t.Context(), "main", Latest, "notes/a")
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if got, err := io.ReadAll(content); string(got) != "one" || size != 3 || err != nil {
		t.Errorf("%q, %d, %v", got, size, err)
	}
	a.write(t, "cache/x", "not part of the state")
	if v := w.now("main"); v.Seq != w.versionsOf("main")[0].Seq {
		t.Errorf("%+v", v)
	}
	if list, err := w.Contents(t.Context(), "main", Latest, ""); err != nil || len(list) != 1 || list[0].Path != "notes" {
		t.Errorf("%v, %v", list, err)
	}
	parts, err := w.Parts(t.Context(), "main", Latest)
	if err != nil || len(parts) != 2 || parts[0].Files != 1 || parts[0].Bytes != 3 || parts[1].Files != 0 {
		t.Errorf("%+v, %v", parts, err)
	}
	// What it wrote last is stored when it falls asleep, and nothing watches then.
	a.write(t, "notes/b", "two")
	a.runs <- false
	w.until("asleep and safe", func(o admin.BackupOverview) bool {
		s := o.Agents[0]
		return s.Mode == "asleep" && s.State == safekeeper.StateSafe && s.Last.Files == 3
	})
	// And what it writes as it stops, when moltworker does.
	a.write(t, "notes/c", "three")
	w.stop()
	if v := w.versionsOf("main")[0]; v.Files != 4 || v.Reason != "moltworker stops" {
		t.Errorf("the last version is %+v", v)
	}
}

func TestAVersionIsPutBack(t *testing.T) {
	w := newWorld(t, mem.New())
	a := w.attach("main")
	a.write(t, "notes/a", "good")
	a.write(t, "other", "good")
	good := w.now("main")
	a.write(t, "notes/a", "bad")
	a.write(t, "other", "newer")
	a.write(t, "added", "later")

	one, err := w.Restore(t.Context(), "main", good.ID, admin.RestoreTo{Only: []string{"notes/a"}}, quiet)
	if err != nil || a.read("notes/a") != "good" || a.read("other") != "newer" || a.read("added") != "later" || one.NChanges != 1 {
		t.Errorf("one file: %v, %+v, notes/a is %q", err, one, a.read("notes/a"))
	}
	all, err := w.Restore(t.Context(), "main", good.ID, admin.RestoreTo{}, quiet)
	if err != nil || a.read("other") != "good" || !strings.Contains(a.read("added"), "no such file") || a.replaced != 2 {
		t.Errorf("all: %v, %+v", err, all)
	}
	before, _, err := w.File(t.Context(), "main", all.Before, "added")
	if err != nil {
		t.Fatalf("what was there before is in no version: %v", err)
	}
	before.Close()
	for _, left := range []string{".restored", ".before"} {
		if _, err := os.Stat(a.home + left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
	if _, err := w.Restore(t.Context(), "main", "00000000000003e7", admin.RestoreTo{}, quiet); !errors.Is(err, backup.ErrNoVersion) || a.read("other") != "good" {
		t.Errorf("a version that is not there: %v", err)
	}
	w.now("main") // goes on
}

// TestNothingIsReplacedThatIsNotStored has the store go away just before a restore
// would put something in place.
func TestNothingIsReplacedThatIsNotStored(t *testing.T) {
	store := faulttest.New(mem.New(), nil)
	w := newWorld(t, store)
	a := w.attach("main")
	a.write(t, "notes/a", "good")
	good := w.now("main")
	a.write(t, "notes/a", "newer")
	store.Follow(faulttest.On(faulttest.Put, "", faulttest.Before))
	if _, err := w.Restore(t.Context(), "main", good.ID, admin.RestoreTo{}, quiet); err == nil || a.read("notes/a") != "newer" {
		t.Errorf("%v; notes/a is %q", err, a.read("notes/a"))
	}
	store.Follow(nil)
	if _, err := w.Restore(t.Context(), "main", good.ID, admin.RestoreTo{}, quiet); err != nil || a.read("notes/a") != "good" {
		t.Errorf("%v; notes/a is %q", err, a.read("notes/a"))
	}
}

func TestAnAgentIsMadeOfAVersion(t *testing.T) {
	w := newWorld(t, mem.New())
	w.attach("main").write(t, "notes/a", "mine")
	w.now("main")
	made, err := w.Restore(t.Context(), "main", Latest, admin.RestoreTo{As: "copy"}, quiet)
	if err != nil || made.Link != "http://copy" || w.agents["copy"].read("notes/a") != "mine" {
		t.Fatalf("%+v, %v", made, err)
	}
	w.agents["copy"].write(t, "notes/a", "its own")
	if v := w.now("copy"); v.Seq == 0 || w.agents["main"].read("notes/a") != "mine" {
		t.Errorf("%+v", v)
	}
	if _, err := w.Restore(t.Context(), "main", Latest, admin.RestoreTo{As: "x", Only: []string{"notes"}}, quiet); err == nil {
		t.Error("single files became an agent")
	}
}

func TestARestoreIsTried(t *testing.T) {
	w := newWorld(t, mem.New())
	w.attach("main").write(t, "notes/a", "x")
	w.now("main")
	w.tried = func(home string) (Trial, error) {
		data, err := os.ReadFile(filepath.Join(home, "notes/a"))
		if string(data) != "x" {
			return Trial{}, fmt.Errorf("%q, %w", data, err)
		}
		return Trial{Databases: 2, Booted: time.Second}, nil
	}
	d, err := w.Drill(t.Context(), "main", quiet)
	if err != nil || !d.OK || d.Databases != 2 || d.Files != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	w.tried = func(string) (Trial, error) { return Trial{}, errors.New("it does not boot") }
	if d, err = w.Drill(t.Context(), "main", quiet); err != nil || d.OK || d.Error != "it does not boot" {
		t.Errorf("%+v, %v", d, err)
	}
	if left, err := os.ReadDir(filepath.Join(w.dir, "backup", "scratch")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if last := w.Overview().Agents[0].Drill; last == nil || last.OK {
		t.Errorf("the overview has %+v", last)
	}
	w.Detach("main")
	w.attach("main") // as after a start
	if last := w.Overview().Agents[0].Drill; last == nil || last.Error != "it does not boot" {
		t.Errorf("after a start the overview has %+v", last)
	}
}

// TestAnotherHost is about a machine that is lost, one that takes its place, and the
// lost one that comes back.
func TestAnotherHost(t *testing.T) {
	store := mem.New()
	old := newWorld(t, store)
	old.attach("main").write(t, "notes/a", "kept")
	old.now("main")

	fresh := newWorld(t, store)
	o := fresh.until("locked", func(o admin.BackupOverview) bool { return o.State == admin.BackupLocked })
	if !strings.Contains(o.Remedy, "unlock") {
		t.Errorf("it says %q", o.Remedy)
	}
	other, err := backup.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Unlock(t.Context(), other.Reveal()); !errors.Is(err, backup.ErrKey) {
		t.Errorf("a stranger's key: %v", err)
	}
	if err := fresh.Unlock(t.Context(), old.key); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(fresh.dir, "main", "home")
	if err := fresh.Prepare(t.Context(), "main", home, quiet); err != nil {
		t.Fatal(err)
	}
	a := fresh.attach("main")
	if a.read("notes/a") != "kept" {
		t.Fatalf("notes/a is %q", a.read("notes/a"))
	}
	a.write(t, "notes/a", "of the new host")
	fresh.now("main")

	old.agents["main"].write(t, "notes/a", "of a ghost")
	if _, err := old.Now(t.Context(), "main", "a test"); !errors.Is(err, backup.ErrFenced) {
		t.Errorf("the old host writes: %v", err)
	}
	old.until("fenced", func(o admin.BackupOverview) bool { return o.Agents[0].State == safekeeper.StateFenced })
	if err := old.Claim(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	old.now("main")
	a.write(t, "notes/b", "x")
	if _, err := fresh.Now(t.Context(), "main", "a test"); !errors.Is(err, backup.ErrFenced) {
		t.Errorf("both write: %v", err)
	}
	if err := fresh.Prepare(t.Context(), "nobody", filepath.Join(fresh.dir, "nobody"), quiet); err != nil {
		t.Errorf("an agent that never was: %v", err)
	}
}

// TestALostHomeIsNotWaitedFor: a version that is being made of a home waits for the
// agent to hold still, and an agent on its way up for its home. The home comes
// first, and an empty one is never saved over the versions that there are.
func TestALostHomeIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, mem.New())
	a := w.attach("main")
	a.write(t, "notes/a", "kept")
	kept := w.now("main")
	if err := os.RemoveAll(a.home); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Now(t.Context(), "main", "a test"); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty home was saved: %v", err)
	}
	a.write(t, "notes/b", "x")
	a.mu.Lock() // it is on its way up
	waiting := make(chan error, 1)
	go func() {
		_, err := w.Now(t.Context(), "main", "a test")
		waiting <- err
	}()
	c, err := w.charge("main")
	if err != nil {
		t.Fatal(err)
	}
	for begun := false; !begun; time.Sleep(time.Millisecond) {
		c.gate.mu.Lock()
		begun = c.gate.end != nil
		c.gate.mu.Unlock()
	}
	if err := os.RemoveAll(a.home); err != nil {
		t.Fatal(err)
	}
	if err := w.Prepare(t.Context(), "main", a.home, quiet); err != nil || a.read("notes/a") != "kept" {
		t.Errorf("%v, notes/a is %q", err, a.read("notes/a"))
	}
	a.mu.Unlock()
	if err := <-waiting; err != nil {
		t.Errorf("the version that waited: %v", err)
	}
	versions, err := w.Versions(t.Context(), "main")
	if err != nil || versions[len(versions)-1].ID != kept.ID {
		t.Errorf("%v, %v", versions, err)
	}
}

func TestABareMachine(t *testing.T) {
	store := mem.New()
	w := newWorld(t, store)
	w.attach("main").write(t, "notes/a", "kept")
	w.attach("work").write(t, "notes/a", "too")
	w.now("main")
	w.now("work")
	w.stop()
	key, err := ParseKey(w.key)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := backup.Open(t.Context(), store, key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	reports, err := Bare(t.Context(), BareOptions{Repo: repo, Home: func(name string) string { return filepath.Join(dir, name) }, Tell: quiet, Log: slog.New(slog.DiscardHandler)})
	if err != nil || len(reports) != 2 {
		t.Fatalf("%+v, %v", reports, err)
	}
	for name, want := range map[string]string{"main": "kept", "work": "too"} {
		if got, err := os.ReadFile(filepath.Join(dir, name, "notes/a")); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := Bare(t.Context(), BareOptions{Repo: repo, Agent: "main", Home: func(string) string { return filepath.Join(dir, "main") }, Tell: quiet}); err == nil {
		t.Error("it restored over something")
	}
}

func TestTheStoreIsAwayAtFirst(t *testing.T) {
	store := faulttest.New(mem.New(), faulttest.Always(faulttest.Before))
	w := newWorld(t, store)
	a := w.attach("main")
	a.write(t, "notes/a", "x")
	o := w.until("away", func(o admin.BackupOverview) bool { return o.State == admin.BackupAway })
	if o.Error == "" || w.key != "" {
		t.Errorf("%+v", o)
	}
	if _, err := w.Now(t.Context(), "main", "a test"); !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Now = %v", err)
	}
	store.Follow(nil)
	w.Reopen()
	if v := w.now("main"); v.Seq == 0 {
		t.Errorf("%+v", v)
	}
}

func TestKeys(t *testing.T) {
	store := mem.New()
	w := newWorld(t, store)
	w.ready()
	made, text, err := w.NewKey(t.Context(), "on paper")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddKey(t.Context(), "in my head", "passphrase:six words are better than one"); err != nil {
		t.Fatal(err)
	}
	keys, err := w.Keys(t.Context())
	if err != nil || len(keys) != 4 {
		t.Fatalf("%+v, %v", keys, err)
	}
	for _, text := range []string{text, w.key, "passphrase:six words are better than one"} {
		key, err := ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := backup.Open(t.Context(), store, key); err != nil {
			t.Errorf("a key that was added: %v", err)
		}
	}
	for _, k := range keys {
		if k.Ours {
			if err := w.RemoveKey(t.Context(), k.ID); err == nil {
				t.Error("this host's key was removed")
			}
		}
	}
	if err := w.RemoveKey(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Open(t.Context(), store, key); !errors.Is(err, backup.ErrKey) {
		t.Errorf("a key that was removed: %v", err)
	}
}

func TestInAndOut(t *testing.T) {
	w := newWorld(t, mem.New())
	w.ready()
	old := filepath.Join(t.TempDir(), ".clawdbot")
	const token = "123456789:AAF-abcdefghijklmnopqrstuvwxyz012345"
	config := `{"channels":{"telegram":{"enabled":true,"botToken":"` + token + `"}}}`
	if err := errors.Join(os.MkdirAll(filepath.Join(old, "agents/main/sessions"), 0o700), os.WriteFile(filepath.Join(old, "clawdbot.json"), []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	made, err := w.Import(t.Context(), "mine", old, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if w.kept["TELEGRAM_BOT_TOKEN"] != token || len(made.Secrets) != 1 || strings.Contains(fmt.Sprint(made), token) {
		t.Errorf("%+v", made)
	}
	if got := w.agents["mine"].read(".openclaw/openclaw.json"); strings.Contains(got, token) || !strings.Contains(got, "telegram") {
		t.Errorf("openclaw.json has %s", got)
	}
	var file bytes.Buffer
	if err := w.Export(t.Context(), "mine", "", "", &file); err != nil || file.Len() == 0 {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "mine.tar.gz")
	if err := os.WriteFile(archive, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Import(t.Context(), "again", archive, quiet); err != nil || !strings.Contains(w.agents["again"].read(".openclaw/openclaw.json"), "telegram") {
		t.Errorf("what was exported cannot be imported: %v", err)
	}
	keys, err := w.Keys(t.Context())
	ours := slices.IndexFunc(keys, func(k admin.BackupKey) bool { return k.Ours })
	if err != nil || ours < 0 {
		t.Fatal(keys, err)
	}
	stranger, err := backup.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	to, err := stranger.Recipient()
	if err != nil {
		t.Fatal(err)
	}
	for recipient, opens := range map[string]bool{keys[ours].Recipient: true, to.Text(): false} {
		file.Reset()
		if err := w.Export(t.Context(), "mine", "", recipient, &file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(archive, file.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Import(t.Context(), fmt.Sprintf("sealed-%t", opens), archive, quiet); (err == nil) != opens || !opens && !errors.Is(err, migrate.ErrLocked) {
			t.Errorf("encrypted to %s: %v", recipient, err)
		}
	}
	if _, err := w.Import(t.Context(), "no", "r2:", quiet); err == nil {
		t.Error("a bucket that is not set up was read")
	}
}
