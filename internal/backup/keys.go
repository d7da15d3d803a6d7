package backup

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"

	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

const (
	passphraseText = "passphrase"
	// maxWork bounds, as a power of two, what a key slot may ask of us to try a
	// passphrase: about four seconds and a gigabyte.
	maxWork = 20
	maxName = 256 // bytes of a name for people
)

// passphraseWork is what trying one passphrase costs, as a power of two.
var passphraseWork = 18

// Key opens a repository: an age identity, an OpenSSH private key or a passphrase.
// Printing one shows nothing of it.
type Key struct {
	identity age.Identity
	text     secret.Value
	public   string // "" for a passphrase
}

// Recipient is whom a repository is encrypted to: an age or SSH public key, or
// whoever knows a passphrase.
type Recipient struct {
	Name string // for people; may be empty
	to   age.Recipient
	text string
}

// GenerateKey makes a new X25519 key.
func GenerateKey() (Key, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return Key{}, fmt.Errorf("generate backup key: %w", err)
	}
	return Key{id, secret.NewValue(id.String()), id.Recipient().String()}, nil
}

// ParseKey reads what [Key.Reveal] gave, an age identity file with one identity,
// or an OpenSSH private key without a passphrase. Errors do not quote the text.
func ParseKey(text string) (Key, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "-----BEGIN") {
		return parseSSHKey(text + "\n")
	}
	ids, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil || len(ids) != 1 {
		return Key{}, remedy.With(errors.New("that is not one backup key"),
			`give one that begins with "AGE-SECRET-KEY-1", or an OpenSSH private key`)
	}
	key := Key{identity: ids[0]}
	switch id := ids[0].(type) {
	case *age.X25519Identity:
		key.text, key.public = secret.NewValue(id.String()), id.Recipient().String()
	case *age.HybridIdentity:
		key.text, key.public = secret.NewValue(id.String()), id.Recipient().String()
	default:
		return Key{}, fmt.Errorf("backup key of an unknown kind %T", id)
	}
	return key, nil
}

// PassphraseKey is the key that a passphrase is.
func PassphraseKey(passphrase string) (Key, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return Key{}, remedy.With(errors.New("the passphrase is empty"), "give one")
	}
	id.SetMaxWorkFactor(maxWork)
	return Key{identity: id, text: secret.NewValue(passphrase)}, nil
}

// Reveal returns the key as text, a secret that [ParseKey] reads; of a passphrase,
// itself.
func (k Key) Reveal() string { return k.text.Reveal() }

// Recipient returns whom to encrypt to, so that this key opens it.
func (k Key) Recipient() (Recipient, error) {
	switch {
	case k.identity == nil:
		return Recipient{}, errors.New("no backup key given")
	case k.public == "":
		return PassphraseRecipient(k.text.Reveal())
	}
	return ParseRecipient(k.public)
}

func (k Key) String() string {
	if k.identity == nil {
		return "no key"
	}
	if k.public == "" {
		return passphraseText
	}
	return "key of " + k.public
}

// ParseRecipient reads a public key: "age1...", "ssh-ed25519 ..." or "ssh-rsa ...".
// What follows an SSH key becomes the recipient's name.
func ParseRecipient(text string) (Recipient, error) {
	text = strings.TrimSpace(text)
	if strings.ContainsAny(text, "\n\r\x00") || len(text) > 16<<10 {
		return Recipient{}, badRecipient(errors.New("it is more than one line"))
	}
	if !strings.HasPrefix(text, "ssh-") {
		list, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(list) != 1 {
			return Recipient{}, badRecipient(err)
		}
		return Recipient{to: list[0], text: text}, nil
	}
	return parseSSHRecipient(text)
}

func badRecipient(err error) error {
	if err == nil {
		err = errors.New("it is not one key")
	}
	return remedy.With(fmt.Errorf("that is not a public key for backups: %w", err),
		`give one that begins with "age1", "ssh-ed25519" or "ssh-rsa"`)
}

// PassphraseRecipient encrypts to a passphrase. The weaker it is the sooner
// somebody who has the store guesses it; generated ones of six words are good.
func PassphraseRecipient(passphrase string) (Recipient, error) {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return Recipient{}, remedy.With(errors.New("the passphrase is empty"), "give one")
	}
	to.SetWorkFactor(passphraseWork)
	return Recipient{to: to, text: passphraseText}, nil
}

// Text is the public key, or "passphrase".
func (r Recipient) Text() string { return r.text }

func shorten(name string) string { return name[:min(len(name), maxName)] }
