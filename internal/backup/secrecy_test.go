package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/blob/faulttest"
)

// TestTheStoreLearnsNothing looks for everything that is known in everything that
// is stored, names and bytes.
func TestTheStoreLearnsNothing(t *testing.T) {
	g := start(t, nil)
	g.vault = g.repo.Vault("clara-the-agent", VaultOptions{Writer: "the-writer-id", Host: "the-host-name"})
	needle := "sk-this-is-a-very-secret-token"
	g.write("openclaw-configuration.json", `{"token":"`+needle+`"}`)
	g.write("directory-name/file-name.md", strings.Repeat("a line of a diary\n", 5000))
	check(t, os.Symlink("target-of-a-link", filepath.Join(g.home, "link-name")))
	v, _, err := g.vault.Snapshot(t.Context(), g.source(), SnapshotOptions{Reason: "because-of-this", Tags: map[string]string{"tag-name": "tag-value"}})
	check(t, err)
	g.write("openclaw-configuration.json", "{}")
	g.snapshot()
	_, err = g.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{})
	check(t, err)
	to, err := g.key.Recipient()
	check(t, err)
	named := to
	named.Name = "name-of-the-key"
	_, err = g.repo.AddRecipient(t.Context(), named)
	check(t, err)

	secrets := []string{needle, "openclaw", "directory-name", "file-name", "a line of a diary", "target-of-a-link", "link-name", "clara",
		"the-writer-id", "the-host-name", "because-of-this", "tag-", to.Text(), "name-of-the-key", "SQLite", v.ID + "x",
		string(g.repo.master[:]), hex.EncodeToString(g.repo.master[:]), base64.StdEncoding.EncodeToString(g.repo.master[:]),
		g.key.Reveal()}
	names := 0
	for name, data := range faulttest.Take(t, g.store) {
		names++
		for _, secret := range secrets {
			if strings.Contains(name, strings.ToLower(secret)) || bytes.Contains(data, []byte(secret)) {
				t.Errorf("object %s shows %q", name, secret)
			}
		}
		if name != rootName && !strings.HasPrefix(name, keysPrefix) && looksLikeText(data) {
			t.Errorf("object %s looks like text: %.60q", name, data)
		}
	}
	if names < 8 {
		t.Errorf("looked at %d objects only", names)
	}
}

func looksLikeText(data []byte) bool {
	n := 0
	for _, b := range data {
		if b >= 32 && b < 127 || b == '\n' {
			n++
		}
	}
	return n*10 > len(data)*7
}

// TestAKeyOpensWhatItShould tries every kind of key on every kind of recipient.
func TestAKeyOpensWhatItShould(t *testing.T) {
	defer func(n int) { passphraseWork = n }(passphraseWork)
	passphraseWork = 10
	mine, err := GenerateKey()
	check(t, err)
	other, err := GenerateKey()
	check(t, err)
	spoken, err := PassphraseKey("six words of no meaning here")
	check(t, err)
	wrong, err := PassphraseKey("six words of no meaning there")
	check(t, err)
	g := start(t, nil)
	for _, k := range []Key{mine, spoken} {
		to, err := k.Recipient()
		check(t, err)
		to.Name = fmt.Sprintf("the %.10s", k)
		_, err = g.repo.AddRecipient(t.Context(), to)
		check(t, err)
	}
	for name, keys := range map[string][]Key{"first": {g.key}, "added": {mine}, "spoken": {spoken}, "some": {other, wrong, mine}} {
		repo, err := Open(t.Context(), g.store, keys...)
		if err != nil || repo.ID() != g.repo.ID() || repo.master != g.repo.master {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, keys := range map[string][]Key{"other": {other}, "wrong": {wrong}, "none": nil, "zero": {{}}} {
		if _, err := Open(t.Context(), g.store, keys...); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A key comes back from its text, and shows nothing when it is printed.
	again, err := ParseKey("# a comment\n" + mine.Reveal() + "\n")
	check(t, err)
	if _, err := Open(t.Context(), g.store, again); err != nil {
		t.Error(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, k := range []Key{mine, spoken} {
			if shown := fmt.Sprintf(format, k); strings.Contains(shown, k.Reveal()) || strings.Contains(shown, "AGE-SECRET") {
				t.Errorf("%s shows %s", format, shown)
			}
		}
	}
	slots, err := g.repo.Recipients(t.Context())
	check(t, err)
	if len(slots) != 3 {
		t.Fatalf("recipients: %+v", slots)
	}
	for _, s := range slots {
		to, err := mine.Recipient()
		check(t, err)
		if s.Recipient == to.Text() {
			check(t, g.repo.RemoveRecipient(t.Context(), s.ID))
		}
	}
	if _, err := Open(t.Context(), g.store, mine); !errors.Is(err, ErrKey) {
		t.Errorf("a removed key: %v", err)
	}
	slots, err = g.repo.Recipients(t.Context())
	check(t, err)
	check(t, g.repo.RemoveRecipient(t.Context(), slots[0].ID))
	if err := g.repo.RemoveRecipient(t.Context(), slots[1].ID); err == nil {
		t.Error("the last key was removed")
	}
	if err := g.repo.RemoveRecipient(t.Context(), "../x"); err == nil {
		t.Error("a key that is none was removed")
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	for _, text := range []string{"", "AGE-SECRET-KEY-1", "age1", "hello", "AGE-SECRET-KEY-1QQQQ", "-----BEGIN OPENSSH PRIVATE KEY-----\nxx\n-----END OPENSSH PRIVATE KEY-----"} {
		if _, err := ParseKey(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("key %q: %v", text, err)
		}
	}
	for _, text := range []string{"", "age1", "ssh-dss AAAA", "ssh-ed25519 AAAA", "age1a\nage1b", "AGE-SECRET-KEY-1QQ"} {
		if _, err := ParseRecipient(text); err == nil {
			t.Errorf("recipient %q is taken", text)
		}
	}
	if _, err := PassphraseKey(""); err == nil {
		t.Error("an empty passphrase is taken")
	}
}

// TestARepositoryIsMadeOnce: the second attempt fails, and so does opening none.
func TestARepositoryIsMadeOnce(t *testing.T) {
	g := start(t, nil)
	to, err := g.key.Recipient()
	check(t, err)
	before := faulttest.Take(t, g.store)
	if _, err := Create(t.Context(), g.store, []Recipient{to}); !errors.Is(err, ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	if changed := before.Changed(faulttest.Take(t, g.store)); changed != nil {
		t.Errorf("the second attempt changed the store: %v", changed)
	}
	for name := range before {
		check(t, g.store.Delete(t.Context(), name))
	}
	if _, err := Open(t.Context(), g.store, g.key); !errors.Is(err, ErrNoRepo) {
		t.Errorf("opened nothing: %v", err)
	}
}

// TestAForgedSlotIsRefused: whoever can write to the store may encrypt a key of
// their own to us.
func TestAForgedSlotIsRefused(t *testing.T) {
	g := start(t, nil)
	to, err := g.key.Recipient()
	check(t, err)
	names, err := faulttest.Names(t.Context(), g.store, keysPrefix)
	check(t, err)
	forged, err := sealKey(to, slotPayload{format, g.repo.id, bytes.Repeat([]byte{7}, keySize)})
	check(t, err)
	check(t, g.store.Put(t.Context(), names[0], forged, false))
	if _, err := Open(t.Context(), g.store, g.key); !errors.Is(err, ErrKey) {
		t.Errorf("opened with somebody else's key: %v", err)
	}
}

// TestAVaultIsItsOwn: what is of one agent is of no use under another's name.
func TestAVaultIsItsOwn(t *testing.T) {
	g := start(t, nil)
	g.write("a", "clara's")
	g.snapshot()
	paul := g.repo.Vault("paul", VaultOptions{})
	for name, data := range faulttest.Take(t, g.store) {
		if rest, ok := strings.CutPrefix(name, g.vault.prefix); ok {
			check(t, g.store.Put(t.Context(), paul.prefix+rest, data, false))
		}
	}
	if _, err := paul.Restore(t.Context(), versionID(1), filepath.Join(fastDir(t), "x"), RestoreOptions{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("clara's version was taken for paul's: %v", err)
	}
	list, err := g.repo.Vaults(t.Context())
	check(t, err)
	if len(list) != 1 || list[0].Agent != "clara" || list[0].Versions != 1 || list[0].Bytes == 0 {
		t.Errorf("vaults: %+v", list)
	}
}
