package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

const (
	sealedName = "secrets.age"
	keyName    = "secret.key"
	lockedName = "secret.key.age"
	lockName   = "secrets.lock"

	maxKeyFile    = 64 << 10
	maxPassphrase = 4 << 10
	// scryptCost makes one guess at the passphrase take about a second and
	// 256 MiB; a key file that demands more than maxScryptCost is refused.
	scryptCost    = 18
	maxScryptCost = 20
)

// openKey reads the store's identity, or makes it when neither a key nor a
// sealed file is there yet. The caller holds the file lock.
func openKey(dir string, o Options) (*age.X25519Identity, error) {
	plain, locked := filepath.Join(dir, keyName), filepath.Join(dir, lockedName)
	hasPlain, err := exists(plain)
	if err != nil {
		return nil, err
	}
	hasLocked, err := exists(locked)
	if err != nil {
		return nil, err
	}
	switch {
	case hasPlain && hasLocked:
		return nil, fmt.Errorf("both %s and %s exist: keep the one that opens %s and move the other away", plain, locked, sealedName)
	case hasPlain && o.PassphraseFile != "":
		return nil, fmt.Errorf("a passphrase is configured, but the key %s is not under one: unset MOLTWORKER_PASSPHRASE_FILE, or move the key and %s away to begin anew", plain, sealedName)
	case hasPlain:
		return readPlainKey(plain)
	case hasLocked:
		return readLockedKey(locked, o)
	}
	sealed := filepath.Join(dir, sealedName)
	if found, err := exists(sealed); err != nil {
		return nil, err
	} else if found {
		return nil, fmt.Errorf("%w: %s is there but its key %s is not: put the key back from your backup, or move %s away to begin anew", ErrDamaged, sealed, plain, sealed)
	}
	return makeKey(dir, o)
}

func makeKey(dir string, o Options) (*age.X25519Identity, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make the secrets' key: %w", err)
	}
	text := []byte(id.String() + "\n")
	if o.PassphraseFile == "" {
		return id, replaceFile(filepath.Join(dir, keyName), text)
	}
	pass, err := readPassphraseFile(o.PassphraseFile)
	if err != nil {
		return nil, err
	}
	recipient, err := age.NewScryptRecipient(pass)
	if err != nil {
		return nil, fmt.Errorf("lock the secrets' key: %w", err)
	}
	recipient.SetWorkFactor(o.scryptCost())
	sealed, err := seal(text, recipient)
	if err != nil {
		return nil, fmt.Errorf("lock the secrets' key: %w", err)
	}
	return id, replaceFile(filepath.Join(dir, lockedName), sealed)
}

func readPlainKey(path string) (*age.X25519Identity, error) {
	text, err := readPrivate(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	return parseKey(path, text)
}

func readLockedKey(path string, o Options) (*age.X25519Identity, error) {
	sealed, err := readPrivate(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	pass, err := o.passphrase(path)
	if err != nil {
		return nil, err
	}
	id, err := age.NewScryptIdentity(pass)
	if err != nil {
		return nil, fmt.Errorf("%w: the passphrase is empty", ErrPassphrase)
	}
	id.SetMaxWorkFactor(maxScryptCost)
	text, err := unseal(sealed, maxKeyFile, id)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, fmt.Errorf("%w: the passphrase given does not open %s: check it and try again", ErrPassphrase, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: key file %s: %v: put it back from your backup", ErrDamaged, path, err)
	}
	return parseKey(path, text)
}

// parseKey takes one X25519 identity out of text. Its errors never quote it.
func parseKey(path string, text []byte) (*age.X25519Identity, error) {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if id, err := age.ParseX25519Identity(line); err == nil {
			return id, nil
		}
		break
	}
	return nil, fmt.Errorf("%w: %s holds no age X25519 key: put it back from your backup", ErrDamaged, path)
}

// readPrivate reads a file that only its owner may have access to.
func readPrivate(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the secrets' key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the secrets' key: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by other users (mode %04o): run chmod 600 %s, and replace the secrets if somebody may have read it", path, perm, path)
	}
	return readAtMost(f, limit)
}

func readPassphraseFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%w: open MOLTWORKER_PASSPHRASE_FILE: %w", ErrPassphrase, err)
	}
	defer f.Close()
	text, err := readAtMost(f, maxPassphrase)
	if err != nil {
		return "", fmt.Errorf("%w: read MOLTWORKER_PASSPHRASE_FILE: %w", ErrPassphrase, err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	pass := strings.TrimSuffix(string(line), "\r")
	if pass == "" {
		return "", fmt.Errorf("%w: the first line of %s is empty: write the passphrase there", ErrPassphrase, path)
	}
	return pass, nil
}

func seal(plain []byte, to age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func unseal(sealed []byte, limit int64, with age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), with)
	if err != nil {
		return nil, err
	}
	return readAtMost(r, limit)
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b, nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", path, err)
	}
	return true, nil
}
