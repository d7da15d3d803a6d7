package backup

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/moltworker/moltworker/internal/remedy"
)

// TestSSHKeysOpenRepositories: people have one already.
func TestSSHKeysOpenRepositories(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	rivest, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	for name, private := range map[string]any{"ssh-ed25519": edwards, "ssh-rsa": rivest} {
		block, err := ssh.MarshalPrivateKey(private, "clara@laptop")
		check(t, err)
		key, err := ParseKey(string(pem.EncodeToMemory(block)))
		check(t, err)
		to, err := key.Recipient()
		check(t, err)
		named, err := ParseRecipient(to.Text() + " clara@laptop")
		check(t, err)
		if !strings.HasPrefix(to.Text(), name+" AAAA") || named.Name != "clara@laptop" || named.Text() != to.Text() {
			t.Errorf("%s: recipient %q, named %q", name, to.Text(), named.Name)
		}
		g := start(t, nil)
		if _, err := Open(t.Context(), g.store, key); !errors.Is(err, ErrKey) {
			t.Errorf("%s: opened somebody else's: %v", name, err)
		}
		slot, err := g.repo.AddRecipient(t.Context(), named)
		check(t, err)
		repo, err := Open(t.Context(), g.store, key)
		if err != nil || repo.ID() != g.repo.ID() || slot.Recipient != to.Text() {
			t.Errorf("%s: %v, slot %+v", name, err, slot)
		}
		again, err := ParseKey(key.Reveal())
		if err != nil || again.String() != key.String() {
			t.Errorf("%s: came back as %v, %v", name, again, err)
		}
		locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
		check(t, err)
		if _, err := ParseKey(string(pem.EncodeToMemory(locked))); err == nil || !strings.Contains(remedy.Of(err), "ssh-keygen") {
			t.Errorf("%s: a key with a passphrase: %v", name, err)
		}
	}
}
