package image

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/moltworker/moltworker/internal/atomicfile"
)

const (
	manifestName = "manifest.json"
	filesName    = "files"

	keySize = 32

	// Bounds of what a manifest may say: far above any real image.
	maxManifest = 256 << 10
	maxMeta     = 64 << 10
	maxFiles    = 64
	maxFile     = 1 << 40
)

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// sealedManifest is what manifest.json holds.
type sealedManifest struct {
	Image json.RawMessage `json:"image"`
	Salt  []byte          `json:"salt"`
	Lock  []byte          `json:"lock"`
}

// formatManifest returns the bytes of manifest.json. imageKey is nil for an
// image that is not sealed.
func formatManifest(m Manifest, agentKey, imageKey []byte) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Sealed != (len(imageKey) == keySize) {
		return nil, errors.New("a sealed image needs a key and another must have none")
	}
	image, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	salt := randomBytes(keySize)
	aead, err := manifestAEAD(agentKey, salt)
	if err != nil {
		return nil, err
	}
	lock := aead.Seal(nil, make([]byte, aead.NonceSize()), imageKey, image)
	data, err := json.Marshal(sealedManifest{image, salt, lock})
	if err != nil {
		return nil, err
	}
	if len(data) > maxManifest {
		return nil, fmt.Errorf("the manifest has %d bytes, over the limit of %d", len(data), maxManifest)
	}
	return data, nil
}

// parseManifest reads manifest.json without authenticating it.
func parseManifest(data []byte) (Manifest, sealedManifest, error) {
	var (
		sm sealedManifest
		m  Manifest
	)
	if err := json.Unmarshal(data, &sm); err != nil {
		return m, sm, fmt.Errorf("read %s: %w", manifestName, err)
	}
	if err := json.Unmarshal(sm.Image, &m); err != nil {
		return m, sm, fmt.Errorf("read %s: %w", manifestName, err)
	}
	if err := m.check(); err != nil {
		return m, sm, fmt.Errorf("read %s: %w", manifestName, err)
	}
	return m, sm, nil
}

// open authenticates the manifest and returns the image key, nil when the image
// is not sealed.
func (sm sealedManifest) open(m Manifest, agentKey []byte) ([]byte, error) {
	aead, err := manifestAEAD(agentKey, sm.Salt)
	if err != nil {
		return nil, err
	}
	imageKey, err := aead.Open(nil, make([]byte, aead.NonceSize()), sm.Lock, sm.Image)
	if err != nil {
		return nil, fmt.Errorf("%w: its manifest was altered or written with another key", ErrCorrupt)
	}
	if m.Sealed != (len(imageKey) == keySize) {
		return nil, fmt.Errorf("%w: its manifest has a key of %d bytes", ErrCorrupt, len(imageKey))
	}
	return imageKey, nil
}

func manifestAEAD(agentKey, salt []byte) (cipher.AEAD, error) {
	if len(agentKey) != keySize {
		return nil, fmt.Errorf("the agent's image key has %d bytes, want %d", len(agentKey), keySize)
	}
	return newAEAD(agentKey, salt, "moltworker image 1 manifest")
}

// newAEAD returns AES-256-GCM with a key derived from secret.
func newAEAD(secret, salt []byte, info string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, salt, info, keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// check makes sure that a manifest is one that we could have written.
func (m Manifest) check() error {
	switch {
	case m.Version != 1:
		return fmt.Errorf("version %d is not known", m.Version)
	case len(m.ID) == 0 || len(m.ID) > 64:
		return errors.New("the id is missing or too long")
	case len(m.Files) == 0 || len(m.Files) > maxFiles:
		return fmt.Errorf("the image has %d files, want 1 to %d", len(m.Files), maxFiles)
	case len(m.Meta) > maxMeta:
		return fmt.Errorf("the owner's part has %d bytes, over the limit of %d", len(m.Meta), maxMeta)
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		sum, err := hex.DecodeString(f.Sum)
		switch {
		case !fileName.MatchString(f.Name) || seen[f.Name]:
			return fmt.Errorf("%q cannot be the name of a file, or is there twice", f.Name)
		case f.Size < 0 || f.Size > maxFile || f.Stored < 0 || f.Stored > 2*maxFile:
			return fmt.Errorf("file %s has an impossible size", f.Name)
		case err != nil || len(sum) != sha256.Size:
			return fmt.Errorf("file %s has no valid sum", f.Name)
		}
		// So that no file's packed name is another file's.
		for _, e := range []encoding{{}, {sealed: true}, {compressed: true}, {true, true}} {
			seen[e.storedName(f.Name)] = true
		}
	}
	return nil
}

func (m Manifest) encoding() encoding { return encoding{m.Compressed, m.Sealed} }

// readManifest reads the manifest of the image directory dir, and makes sure
// that the files are there with the sizes it names.
func readManifest(dir string) (Manifest, sealedManifest, error) {
	var none Manifest
	f, size, err := openRegular(filepath.Join(dir, manifestName))
	if err != nil {
		return none, sealedManifest{}, damage(err)
	}
	defer f.Close()
	if size > maxManifest {
		return none, sealedManifest{}, fmt.Errorf("%w: %s has %d bytes, over the limit of %d", ErrCorrupt, manifestName, size, maxManifest)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return none, sealedManifest{}, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	m, sm, err := parseManifest(data)
	if err != nil {
		return none, sm, damage(err)
	}
	if err := ownDirectory(filepath.Join(dir, filesName)); err != nil {
		return none, sm, damage(err)
	}
	for _, file := range m.Files {
		path := filepath.Join(dir, filesName, m.encoding().storedName(file.Name))
		f, size, err := openRegular(path)
		if err != nil {
			return none, sm, damage(err)
		}
		f.Close()
		if size != file.Stored {
			return none, sm, fmt.Errorf("%w: file %s has %d bytes, not %d", ErrCorrupt, file.Name, size, file.Stored)
		}
	}
	return m, sm, nil
}

// writeManifest replaces the manifest of the image directory dir durably.
func writeManifest(dir string, m Manifest, agentKey, imageKey []byte) error {
	data, err := formatManifest(m, agentKey, imageKey)
	if err != nil {
		return fmt.Errorf("write %s: %w", manifestName, err)
	}
	return atomicfile.Write(filepath.Join(dir, manifestName), data, 0o600)
}

// damage makes of an error of opening or reading a file that the image is
// damaged, unless we were short of something.
func damage(err error) error {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, short) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func randomName() string { return hex.EncodeToString(randomBytes(8)) }

// validMeta returns meta as it goes into a manifest.
func validMeta(meta json.RawMessage) (json.RawMessage, error) {
	if len(meta) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, meta); err != nil {
		return nil, fmt.Errorf("the owner's part of the manifest is no JSON: %w", err)
	}
	return b.Bytes(), nil
}
