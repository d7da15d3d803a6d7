package backup

import (
	"bytes"
	"errors"
	"strings"

	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

func parseSSHKey(pem string) (Key, error) {
	id, err := agessh.ParseIdentity([]byte(pem))
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return Key{}, remedy.With(errors.New("the SSH key has a passphrase"),
			"give a copy of it without one, made with: ssh-keygen -p -N '' -f COPY")
	}
	if err != nil {
		return Key{}, remedy.With(errors.New("that is not an SSH key that can open backups"), "use an ed25519 or RSA key")
	}
	signer, err := ssh.ParsePrivateKey([]byte(pem))
	if err != nil {
		return Key{}, errors.New("that is not an SSH private key")
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return Key{id, secret.NewValue(pem), public}, nil
}

func parseSSHRecipient(text string) (Recipient, error) {
	to, err := agessh.ParseRecipient(text)
	if err != nil {
		return Recipient{}, badRecipient(err)
	}
	public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return Recipient{}, badRecipient(err)
	}
	line := string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(public)))
	return Recipient{Name: shorten(comment), to: to, text: line}, nil
}
