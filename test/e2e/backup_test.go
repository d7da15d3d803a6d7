package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/s3"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/test/s3server"
)

// secretWord is in what the agent knows, and must be nowhere in the store.
const secretWord = "Rumpelstilzchen"

// TestBackup is the life of a state that cannot be lost, with a real S3 server: every
// change is stored soon, a version is put back, a restore is tried, the home is lost,
// and at last the whole machine.
func TestBackup(t *testing.T) {
	endpoint, access, secretKey := s3server.Start(t)
	bucket := s3server.Bucket(t, endpoint, access, secretKey)
	place := "s3://" + bucket + "/agents"
	foreign := s3server.Bucket(t, endpoint, access, secretKey)
	env := []string{
		"MOLTWORKER_BACKUP=" + place, "MOLTWORKER_BACKUP_ENDPOINT=" + endpoint, "AWS_ACCESS_KEY_ID=" + access, "AWS_SECRET_ACCESS_KEY=" + secretKey,
		"R2_ENDPOINT=" + endpoint, "R2_BUCKET_NAME=" + foreign, "R2_ACCESS_KEY_ID=" + access, "R2_SECRET_ACCESS_KEY=" + secretKey,
	}
	in := func(bucket string) blob.Store {
		store, err := s3.New(s3.Options{Endpoint: endpoint, Region: s3server.Region, Bucket: bucket, AccessKey: access, SecretKey: secret.NewValue(secretKey), PathStyle: true})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}

	owner := t // of processes that outlive the part of the story in which they start
	u := startIn(t, t.TempDir(), env)
	keyFile := filepath.Join(t.TempDir(), "key")
	e, _ := u.await(0, patience, "recovery key", func(e event) bool { return e.Event == "recovery" })
	if err := os.WriteFile(keyFile, []byte(e.Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u.awaitAwake(0)

	if got := u.chat(t, "What is 3000 + 41?"); !strings.Contains(strings.ReplaceAll(got, ",", ""), "3041") {
		t.Fatalf("it says %q", got)
	}
	u.inside("echo " + secretWord + " > $HOME/.openclaw/workspace/MEMORY.md")
	u.awaitSafe("main")
	kept := u.version("main")

	t.Run("what changes is in the next version, and nothing else is stored", func(t *testing.T) {
		u.inside("echo more >> $HOME/.openclaw/workspace/MEMORY.md")
		after := u.nextVersion("main", kept.Seq)
		if after.Stored > 1<<20 { // OpenClaw may have written as well
			t.Errorf("a changed line stored %d bytes", after.Stored)
		}
		t.Logf("the first version has %d files, %d bytes, stored %d; the second stored %d; held still for %v and %v",
			kept.Files, kept.Bytes, kept.Stored, after.Stored, kept.Held, after.Held)
	})

	t.Run("a version is put back in place", func(t *testing.T) { putBack(t, u, kept) })

	t.Run("a restore is tried", func(t *testing.T) {
		r := u.moltworker("backup", "drill", "--json")
		var d admin.Drill
		if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || r.code != 0 || !d.OK || d.Databases < 2 {
			t.Errorf("code %d, %v, %+v: %s", r.code, err, d, r.stderr)
		}
		t.Logf("%d files restored in %v, booted in %v, %d databases good", d.Files, d.Restored, d.Booted, d.Databases)
		if left, err := filepath.Glob(filepath.Join(u.data, "backup", "scratch", "*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})

	t.Run("every byte is whole", func(t *testing.T) {
		r := u.moltworker("backup", "verify", "--full", "--json")
		var report backup.VerifyReport
		if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != 0 || !report.OK() || report.Chunks == 0 {
			t.Errorf("code %d, %v, %+v: %s", r.code, err, report, r.stderr)
		}
	})

	t.Run("a lost home comes back by itself", func(t *testing.T) {
		if code := u.stop(); code != 0 {
			t.Fatalf("ended with code %d", code)
		}
		leavesNothing(t, u.data)
		if err := os.RemoveAll(filepath.Join(u.data, "agents", "main", "home")); err != nil {
			t.Fatal(err)
		}
		u = u.again(owner)
		u.awaitAwake(0)
		if got := u.inside("cat $HOME/.openclaw/workspace/MEMORY.md"); strings.TrimSpace(got) != secretWord {
			t.Errorf("MEMORY.md has %q", got)
		}
	})

	t.Run("an agent of Cloudflare's moltworker moves in", func(t *testing.T) { moveIn(t, u, in(foreign)) })

	u.inside("echo last > $HOME/.openclaw/workspace/last")
	if code := u.stop(); code != 0 { // which stores what changed last
		t.Errorf("ended with code %d", code)
	}
	leavesNothing(t, u.data)
	t.Run("a lost machine's agents come back with the key alone", func(t *testing.T) { elsewhere(t, env, place, keyFile) })

	t.Run("the store has learnt nothing", func(t *testing.T) {
		knowsNothing(t, in(bucket), e.Key)
	})
}

// putBack spoils what the agent has, and puts a version in its place.
func putBack(t *testing.T, u *up, kept backup.Version) {
	from := u.seen()
	u.inside("rm $HOME/.openclaw/workspace/MEMORY.md; echo rubbish > $HOME/.openclaw/workspace/SOUL.md")
	r := u.moltworker("backup", "restore", kept.ID, "--yes", "--json")
	var done admin.Restored
	if err := json.Unmarshal([]byte(r.stdout), &done); err != nil || r.code != 0 {
		t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	u.awaitAwake(from)
	if got := u.inside("cat $HOME/.openclaw/workspace/MEMORY.md"); strings.TrimSpace(got) != secretWord {
		t.Errorf("MEMORY.md has %q", got)
	}
	if done.Before == "" || done.NChanges == 0 {
		t.Errorf("it says %+v", done)
	}
	rubbish := u.moltworker("backup", "get", ".openclaw/workspace/SOUL.md", "--version", done.Before)
	if rubbish.code != 0 || strings.TrimSpace(rubbish.stdout) != "rubbish" {
		t.Errorf("what was there before is not in version %s: code %d, %q %s", done.Before, rubbish.code, rubbish.stdout, rubbish.stderr)
	}
	if got := u.chat(t, "What is 5000 + 7?"); !strings.Contains(strings.ReplaceAll(got, ",", ""), "5007") {
		t.Errorf("it says %q", got)
	}
}

// elsewhere restores on another machine, with nothing but the key.
func elsewhere(t *testing.T, env []string, place, keyFile string) {
	data := t.TempDir()
	r := moltworker(t, env, "backup", "restore", "--from", place, "--key", keyFile, "--data", data, "--json")
	if r.code != 0 {
		t.Fatalf("code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for name, want := range map[string]string{"MEMORY.md": secretWord, "last": "last"} {
		got, err := os.ReadFile(filepath.Join(data, "agents", "main", "home", ".openclaw", "workspace", name))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// knowsNothing looks for what the agent knows in everything that the store has.
func knowsNothing(t *testing.T, store blob.Store, key string) {
	t.Helper()
	objects := 0
	err := store.List(t.Context(), "", func(info blob.Info) error {
		content, err := store.Get(t.Context(), info.Name, 0, -1)
		objects++
		for _, word := range []string{secretWord, "MEMORY.md", "SQLite format", "openclaw.json", "workspace", key} {
			if strings.Contains(string(content), word) || strings.Contains(info.Name, word) {
				t.Errorf("%s shows %q", info.Name, word)
			}
		}
		return err
	})
	if err != nil || objects < 5 {
		t.Errorf("%d objects, %v", objects, err)
	}
}

// backupOf is how safe an agent is.
func (u *up) backupOf(name string) admin.AgentBackup {
	u.t.Helper()
	r := u.moltworker("backup", "status", "--json")
	var o admin.BackupOverview
	if err := json.Unmarshal([]byte(r.stdout), &o); err != nil || r.code != 0 {
		u.t.Fatalf("backup status: code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	for _, a := range o.Agents {
		if a.Agent == name {
			return a
		}
	}
	return admin.AgentBackup{}
}

// awaitSafe waits until everything that an agent has is in the store.
func (u *up) awaitSafe(name string) (s admin.AgentBackup) {
	u.t.Helper()
	if r := u.moltworker("backup", "now", "--agent", name); r.code != 0 {
		u.t.Fatalf("backup now: code %d: %s", r.code, r.stderr)
	}
	return u.backupOf(name)
}

// version is an agent's newest version.
func (u *up) version(name string) backup.Version {
	u.t.Helper()
	r := u.moltworker("backup", "ls", "--agent", name, "--json")
	var list struct{ Versions []backup.Version }
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || r.code != 0 || len(list.Versions) == 0 {
		u.t.Fatalf("backup ls: code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	return list.Versions[0]
}

// nextVersion waits for a version after seq that was made by itself.
func (u *up) nextVersion(name string, seq uint64) (v backup.Version) {
	u.t.Helper()
	eventually(u.t, patience, "a new version", func() bool {
		v = u.version(name)
		return v.Seq > seq
	})
	return v
}
