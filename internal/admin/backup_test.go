package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/migrate"
	"github.com/moltworker/moltworker/internal/remedy"
)

// kept is a control plane with a backup of main that has one version.
func kept(t *testing.T) (*admintest.World, *admintest.Backups) {
	t.Helper()
	b := admintest.NewBackups(time.Now, "main")
	w := admintest.New(t, func(o *admin.Options) { o.Backups = b })
	b.Write("main", "notes/a", "one")
	if _, err := w.BackupNow(ann(t), "main"); err != nil {
		t.Fatal(err)
	}
	return w, b
}

// said is the record of an action in short.
func said(list []audit.Entry) (lines []string) {
	for _, e := range list {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s -> %s (%s)", e.Actor, e.Agent, e.Target, e.Old, e.New, e.Detail))
	}
	return lines
}

// Every change of the backup is on record: who, what, and what was there before.
func TestChangesOfTheBackupAreRecorded(t *testing.T) {
	w, b := kept(t)
	ctx := ann(t)
	b.Write("main", "notes/a", "two")
	b.Damage("main", backup.Damage{Object: "p/1", Why: "it is cut", Versions: []string{"1"}})
	b.Damage("main", backup.Damage{Object: "p/2", Why: "it is gone"})
	b.Set(func(o *admin.BackupOverview) { o.Policy.Last = 2 })
	steps := []func() error{
		func() error { _, err := w.BackupVerify(ctx, "main", true, nil); return err },
		func() error { _, err := w.BackupRepair(ctx, "MAIN", nil); return err },
		func() error {
			r, err := w.BackupRestore(ctx, "main", "1", admin.RestoreTo{}, nil)
			if r.Before != "0000000000000002" || b.Live("main", "notes/a") != "one" {
				t.Errorf("restored %+v, there is %q", r, b.Live("main", "notes/a"))
			}
			return err
		},
		func() error {
			_, err := w.BackupRestore(ctx, "main", "2", admin.RestoreTo{Only: []string{"./notes/a/"}}, nil)
			return err
		},
		func() error {
			_, err := w.BackupRestore(ctx, "main", "latest", admin.RestoreTo{As: "second"}, nil)
			return err
		},
		func() error { _, err := w.BackupDrill(ctx, "main", nil); return err },
		func() error { b.Fence("main"); return w.BackupClaim(ctx, "main") },
		func() error { _, err := w.BackupNow(ctx, "main"); return err },
		func() error { _, err := w.BackupPrune(ctx, "main"); return err },
		func() error { return w.BackupExport(ctx, "main", "", "", io.Discard) },
		func() error {
			_, err := w.Import(admintest.Owner(t.Context()), "moved", "/srv/agent", nil)
			return err
		},
	}
	for i, do := range steps {
		if err := do(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	var got []string
	for _, action := range []string{"backup.", "agent.export", "agent.import"} {
		got = append(got, said(actions(t, w, action))...)
	}
	const who, one, two, three = "person ann@example.com main ", "0000000000000001", "0000000000000002", "0000000000000003"
	want := []string{
		who + ": none -> " + one + " ()",
		who + ":  -> 2 things damaged (1 version, every byte)",
		who + ":  -> 1 mended, 1 lost ()",
		who + one + ": " + two + " -> " + one + " ()",
		who + two + ": " + three + " -> " + two + " (only 1 path: notes/a)",
		who + "latest:  -> " + three + " (as a new agent, second)",
		who + three + ":  -> it does not: it is gone ()",
		who + ": another host (the newest version is of box) -> this host ()",
		who + ": " + three + " -> 0000000000000004 ()",
		who + ": 4 versions -> 2 versions ()",
		who + "latest:  ->  (for nobody in particular: it is not encrypted)",
		"owner moved /srv/agent: none -> an OpenClaw state directory (secrets sealed: moved/TELEGRAM_BOT_TOKEN)",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What fails on the way may have left something, so it is recorded too.
func TestFailedChangesAreRecorded(t *testing.T) {
	w, b := kept(t)
	b.Fail("Restore", fmt.Errorf("get the pack: %w", blob.ErrUnavailable))
	b.Fail("Prune", fmt.Errorf("delete: %w", blob.ErrDenied))
	_, err := w.BackupRestore(ann(t), "main", "1", admin.RestoreTo{}, nil)
	_, err2 := w.BackupPrune(ann(t), "main")
	for err, want := range map[error]string{err: "store_away", err2: "store_denied"} {
		if e := admin.AsError(err); e.Kind != want || e.Remedy == "" {
			t.Errorf("%+v, want %s", e, want)
		}
	}
	got := strings.Join(said(actions(t, w, "backup.")), "\n")
	for _, want := range []string{"(failed: get the pack: the store is unavailable)", "(failed: delete: the store refuses)"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// The owner hears of the backup as programs for cloudflare/moltworker do.
func TestStorageSaysHowSafeAgentsAre(t *testing.T) {
	w, b := kept(t)
	for _, c := range []struct {
		change func(*admin.BackupOverview)
		says   string
	}{
		{func(*admin.BackupOverview) {}, "within seconds of every change"},
		{func(o *admin.BackupOverview) { o.OffMachine = false }, "a broken disk takes both"},
		{func(o *admin.BackupOverview) { o.State = admin.BackupAway }, "cannot be reached"},
		{func(o *admin.BackupOverview) { o.State = admin.BackupLocked }, "no key to it"},
		{func(o *admin.BackupOverview) { o.State = admin.BackupFailed }, "needs a person"},
		{func(o *admin.BackupOverview) { o.State = admin.BackupStarting }, "starting"},
		{func(o *admin.BackupOverview) { o.State = admin.BackupReady }, "broken disk"},
	} {
		b.Set(c.change)
		s, err := w.Storage(ann(t))
		if err != nil || !s.Configured || s.LastSync == nil || !strings.Contains(s.Message, c.says) {
			t.Errorf("%+v, %v; want %q", s, err, c.says)
		}
	}
	b.Fence("main")
	if s, _ := w.Storage(ann(t)); !strings.Contains(s.Message, "by another machine") {
		t.Errorf("%+v", s)
	}
	if _, err := w.SyncStorage(ann(t)); admin.AsError(err).Kind != "fenced" || !strings.Contains(err.Error(), "main") {
		t.Errorf("a fenced agent: %v", err)
	}
	off := admintest.New(t, nil)
	s, err := off.Storage(ann(t))
	if err != nil || s.Configured || s.LastSync != nil || s.State != admin.BackupOff {
		t.Errorf("without: %+v, %v", s, err)
	}
	if _, err := off.SyncStorage(ann(t)); !errors.Is(admin.AsError(err), admin.ErrNotConfigured) {
		t.Errorf("without: %v", err)
	}
}

// Whoever watches is told once at first, and then of changes until they leave.
func TestTheBackupIsWatched(t *testing.T) {
	w, b := kept(t)
	ctx, leave := context.WithCancel(ann(t))
	told, err := w.WatchBackup(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, told, "the first word")
	b.Write("main", "notes/b", "new")
	wait(t, told, "word of a change")
	leave()
	for range told { // ends
	}
}

// A link opens an agent: those who may make one, but not use it, are not told.
func TestRestoredLinksAreForThoseWhoMayUseAgents(t *testing.T) {
	w, _ := kept(t)
	scopes := []access.Scope{access.WriteAgents, access.WriteStorage}
	for i, s := range [][]access.Scope{scopes, append(scopes, access.UseAgents)} {
		ctx := access.With(t.Context(), access.Principal{Kind: access.KindService, Scopes: s}, access.Place{})
		r, err := w.BackupRestore(ctx, "main", "1", admin.RestoreTo{As: fmt.Sprintf("copy-%d", i)}, nil)
		if err != nil || (r.Link != "") != (i == 1) {
			t.Errorf("%v: %q, %v", s, r.Link, err)
		}
		made, err := w.Import(ctx, fmt.Sprintf("moved-%d", i), "r2:", nil)
		if err != nil || (made.Link != "") != (i == 1) {
			t.Errorf("%v: %q, %v", s, made.Link, err)
		}
	}
}

// What callers name is checked before the backup is asked.
func TestWhatIsNamedIsChecked(t *testing.T) {
	w, _ := kept(t)
	ctx := ann(t)
	long := strings.Repeat("x", 5000)
	for what, err := range map[string]error{
		"no agent's name":   last(w.BackupVersions(ctx, "../x")),
		"no version":        last(w.BackupParts(ctx, "main", "")),
		"a version too big": last(w.BackupParts(ctx, "main", "00000000000000001")),
		"no hex":            last(w.BackupParts(ctx, "main", "zz")),
		"absolute":          last(w.BackupContents(ctx, "main", "1", "/etc")),
		"out of the home":   last(w.BackupContents(ctx, "main", "1", "a/../../b")),
		"a NUL":             last(w.BackupContents(ctx, "main", "1", "a\x00")),
		"too long":          last(w.BackupContents(ctx, "main", "1", long)),
		"as and only":       last(w.BackupRestore(ctx, "main", "1", admin.RestoreTo{As: "x", Only: []string{"a"}}, nil)),
		"as nonsense":       last(w.BackupRestore(ctx, "main", "1", admin.RestoreTo{As: "X y"}, nil)),
		"the whole home":    last(w.BackupRestore(ctx, "main", "1", admin.RestoreTo{Only: []string{"."}}, nil)),
		"many paths":        last(w.BackupRestore(ctx, "main", "1", admin.RestoreTo{Only: make([]string, 1001)}, nil)),
		"a key of no name":  last(w.BackupAddKey(ctx, " ", "passphrase:long enough it is")),
		"a name to hide":    last(w.BackupAddKey(ctx, "a\x1b[8m", "passphrase:long enough it is")),
		"a weak passphrase": last(w.BackupAddKey(ctx, "a", "passphrase:short")),
		"no recipient":      last(w.BackupAddKey(ctx, "a", "age1")),
		"no key":            w.BackupUnlock(ctx, "nonsense"),
		"an empty one":      w.BackupUnlock(ctx, "passphrase:"),
		"export for nobody": w.BackupExport(ctx, "main", "1", "nobody", io.Discard),
		"relative":          last(w.Import(admintest.Owner(t.Context()), "x", "agent", nil)),
	} {
		if e := admin.AsError(err); e == nil || e.Status != 400 || e.Kind != "invalid" {
			t.Errorf("%s: %+v", what, e)
		}
	}
	if list := actions(t, w, "backup."); len(list) != 1 {
		t.Errorf("recorded %v", said(list))
	}
}

func last[T any](_ T, err error) error { return err }

// Errors of the backup travel with a status, a word for programs, and what to do.
func TestErrorsOfTheBackupTravel(t *testing.T) {
	for err, want := range map[error]string{
		backup.ErrNoVersion: "404 not_found", backup.ErrNoRepo: "404 no_repository", backup.ErrFenced: "409 fenced",
		backup.ErrUnchanged: "409 unchanged", backup.ErrKey: "409 locked", backup.ErrDamaged: "502 damaged", backup.ErrExists: "409 exists",
		blob.ErrDenied: "502 store_denied", blob.ErrUnavailable: "503 store_away", agent.ErrTaken: "409 taken",
		migrate.ErrUnknown: "400 not_an_agent", migrate.ErrHostile: "400 hostile", migrate.ErrLocked: "400 locked",
	} {
		e := admin.AsError(fmt.Errorf("do something: %w", err))
		if got := fmt.Sprintf("%d %s", e.Status, e.Kind); got != want || !strings.HasPrefix(e.Message, "do something: ") {
			t.Errorf("%v: %s %q, want %s", err, got, e.Message, want)
		}
		if own := admin.AsError(remedy.With(err, "do this")); own.Remedy != "do this" {
			t.Errorf("%v: its own remedy became %q", err, own.Remedy)
		}
	}
}

func TestAttachments(t *testing.T) {
	for name, want := range map[string]string{
		"a/b/notes.txt":                      "notes.txt",
		"<script>alert(1)</script>":          "script_",
		"..":                                 "file",
		"a/.bashrc":                          "bashrc",
		"evil\u202egnp.exe":                  "evil_gnp.exe",
		"a\r\nSet-Cookie: x":                 "a__Set-Cookie_ x",
		`"; filename="x`:                     "__ filename=_x",
		"\xff\xfe":                           "file",
		"日本語 ä.md":                           "日本語 ä.md",
		"":                                   "file",
		"con\x00fig":                         "con_fig",
		strings.Repeat("ä", 200) + ".sqlite": strings.Repeat("ä", 71) + ".sqlite",
	} {
		kind, params, err := mime.ParseMediaType(admin.Attachment(name))
		if err != nil || kind != "attachment" || params["filename"] != want {
			t.Errorf("%q: %q, %v; want %q", name, params["filename"], err, want)
		}
	}
}

func FuzzAttachment(f *testing.F) {
	f.Add("a/b\x00\u202e\"\r\n")
	f.Fuzz(func(t *testing.T, name string) {
		header := admin.Attachment(name)
		kind, params, err := mime.ParseMediaType(header)
		got := params["filename"]
		if err != nil || kind != "attachment" || got == "" || len(got) > 200 || got[0] == '.' || !utf8.ValidString(got) ||
			strings.ContainsAny(got, "/\\\"<>\x00\r\n\x1b\u202e") || strings.ContainsAny(header, "\r\n\x00") {
			t.Errorf("%q: %q is %q, %v", name, header, got, err)
		}
	})
}

// A file that turns out wrong at its very end is not sent whole.
func TestTheLastByteWaitsForTheVerdict(t *testing.T) {
	for what, c := range map[string]struct {
		data string
		end  error
		size int64
		sent string
		ok   bool
	}{
		"whole": {"abc", io.EOF, 3, "abc", true}, "empty": {"", io.EOF, 0, "", true}, "short": {"ab", io.EOF, 3, "ab", false},
		"longer": {"abcd", io.EOF, 3, "ab", false}, "wrong": {"abc", backup.ErrDamaged, 3, "ab", false}, "not empty": {"a", io.EOF, 0, "", false},
	} {
		rec := httptest.NewRecorder()
		err := admin.SendFile(rec, "x", io.MultiReader(strings.NewReader(c.data), iotest.ErrReader(c.end)), c.size)
		if (err == nil) != c.ok || rec.Body.String() != c.sent {
			t.Errorf("%s: sent %q, %v", what, rec.Body.String(), err)
		}
	}
}
