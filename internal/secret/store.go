package secret

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"filippo.io/age"
)

const format = "moltworker-secrets/1"

// Options says how a store's key is found. The zero value is a store with a key
// file.
type Options struct {
	// PassphraseFile names a file whose first line is the passphrase. A store
	// that is made with it set keeps its key under that passphrase.
	PassphraseFile string
	// Prompt asks a person for the passphrase of an existing key that is under
	// one, when there is no PassphraseFile. Nil: there is nobody to ask.
	Prompt func() (string, error)
	// Now is the clock; time.Now when nil.
	Now func() time.Time

	cost int // scrypt work factor, for tests; 0: scryptCost
}

func (o Options) scryptCost() int {
	if o.cost != 0 {
		return o.cost
	}
	return scryptCost
}

func (o Options) passphrase(path string) (string, error) {
	if o.PassphraseFile != "" {
		return readPassphraseFile(o.PassphraseFile)
	}
	if o.Prompt == nil {
		return "", fmt.Errorf("%w: %s is under a passphrase: name a file that holds it in MOLTWORKER_PASSPHRASE_FILE", ErrPassphrase, path)
	}
	pass, err := o.Prompt()
	if err != nil {
		return "", fmt.Errorf("ask for the passphrase: %w", err)
	}
	return pass, nil
}

// Info is what may be told about a secret.
type Info struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
	Binding
}

// record is one secret as it lies in the sealed file.
type record struct {
	Value   []byte    `json:"value"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
	Hosts   []string  `json:"hosts,omitempty"`
}

type content struct {
	Format  string            `json:"format"`
	Secrets map[string]record `json:"secrets"`
}

// Store is an open store. Its methods may be called concurrently, and by
// several processes on one directory: a change made by one is seen by the
// next call of the others.
type Store struct {
	dir string
	now func() time.Time
	key *age.X25519Identity

	mu      sync.Mutex        // guards what follows, and orders changes
	secrets map[string]record // as of seen; replaced, never changed
	seen    version           // of the sealed file; zero when there was none
}

// Open opens the store in dir, making the directory and a key on first use. It
// fails when the content cannot be read with the key; nothing is changed then.
func Open(dir string, o Options) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the secrets' directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	key, err := openKey(dir, o)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, key: key, now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s, s.refresh()
}

// Get returns the secret of that very name, or ErrNotFound.
func (s *Store) Get(name string) (Value, Info, error) {
	if err := ValidateName(name); err != nil {
		return Value{}, Info{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return Value{}, Info{}, err
	}
	r, ok := s.secrets[name]
	if !ok {
		return Value{}, Info{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	return NewValue(string(r.Value)), r.info(name), nil
}

// View returns what [Store.Get] would say at this moment of every name, for who asks
// for many at once. A store that cannot be read has no secrets.
func (s *Store) View() func(name string) (Value, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refresh() != nil {
		return func(string) (Value, bool) { return Value{}, false }
	}
	secrets := maps.Clone(s.secrets)
	return func(name string) (Value, bool) {
		r, ok := secrets[name]
		return NewValue(string(r.Value)), ok
	}
}

// Lookup returns the agent's own secret of that name, or the one for all
// agents, or ErrNotFound.
func (s *Store) Lookup(agent, name string) (Value, Info, error) {
	v, info, err := s.Get(ScopedName(agent, name))
	if errors.Is(err, ErrNotFound) {
		return s.Get(name)
	}
	return v, info, err
}

// Put keeps value under name, in place of what was there. It stays bound to the
// hosts it had; a new secret is bound as [BindingFor] says for its name.
func (s *Store) Put(name, value string) error { return s.put(name, value, nil) }

// PutBound is Put with the hosts the secret may be sent to.
func (s *Store) PutBound(name, value string, b Binding) error {
	b, err := NewBinding(b.Hosts...)
	if err != nil {
		return err
	}
	return s.put(name, value, &b)
}

func (s *Store) put(name, value string, b *Binding) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	if err := validateValue(name, value); err != nil {
		return err
	}
	return s.change(func(secrets map[string]record) error {
		now := s.now().UTC().Truncate(time.Second)
		r, known := secrets[name]
		if !known {
			if len(secrets) >= MaxCount {
				return fmt.Errorf("%w: there are %d secrets already, the most that are kept: remove some first", ErrInvalid, MaxCount)
			}
			r = record{Created: now, Hosts: wellKnown[trimScope(name)]}
		}
		if b != nil {
			r.Hosts = b.Hosts
		}
		r.Value, r.Updated = []byte(value), now
		secrets[name] = r
		return nil
	})
}

// Remove takes the secret away, or returns ErrNotFound.
func (s *Store) Remove(name string) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	return s.change(func(secrets map[string]record) error {
		if _, ok := secrets[name]; !ok {
			return fmt.Errorf("%w: %s", ErrNotFound, name)
		}
		delete(secrets, name)
		return nil
	})
}

// List tells of all secrets, sorted by name.
func (s *Store) List() ([]Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, err
	}
	list := make([]Info, 0, len(s.secrets))
	for _, name := range slices.Sorted(maps.Keys(s.secrets)) {
		list = append(list, s.secrets[name].info(name))
	}
	return list, nil
}

// change applies edit to the newest content and writes the result. When it
// returns an error nothing has changed, here or on disk, unless all that failed
// was the sync of the directory.
func (s *Store) change(edit func(map[string]record) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock, err := lockDir(s.dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := s.refresh(); err != nil {
		return err
	}
	next := maps.Clone(s.secrets)
	if err := edit(next); err != nil {
		return err
	}
	plain, err := json.Marshal(content{Format: format, Secrets: next})
	if err != nil {
		return fmt.Errorf("encode the secrets: %w", err)
	}
	if len(plain) > maxFile {
		return fmt.Errorf("%w: the secrets would take %d bytes together, more than %d: remove some first", ErrInvalid, len(plain), maxFile)
	}
	sealed, err := seal(plain, s.key.Recipient())
	if err != nil {
		return fmt.Errorf("seal the secrets: %w", err)
	}
	if err := replaceFile(s.path(), sealed); err != nil {
		return err
	}
	return s.refresh()
}

// refresh reads the sealed file again when it is not the one last read.
func (s *Store) refresh() error {
	f, err := os.Open(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		s.secrets, s.seen = map[string]record{}, version{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the secrets: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open the secrets: %w", err)
	}
	now := versionOf(info)
	if now == s.seen {
		return nil
	}
	sealed, err := readAtMost(f, 2*maxFile)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.path(), err)
	}
	secrets, err := s.decode(sealed)
	if err != nil {
		return fmt.Errorf("%w: %s is damaged or belongs to another key (%v): put it back from your backup, or move it away to begin anew", ErrDamaged, s.path(), err)
	}
	s.secrets, s.seen = secrets, now
	return nil
}

// decode opens sealed. Its errors never quote the content.
func (s *Store) decode(sealed []byte) (map[string]record, error) {
	plain, err := unseal(sealed, maxFile, s.key)
	if err != nil {
		return nil, err
	}
	var c content
	if err := json.Unmarshal(plain, &c); err != nil {
		return nil, errors.New("its content is not what moltworker writes")
	}
	if c.Format != format {
		return nil, errors.New("it was written by another version of moltworker")
	}
	for name, r := range c.Secrets {
		if ValidateName(name) != nil || validateValue(name, string(r.Value)) != nil {
			return nil, errors.New("its content is not what moltworker writes")
		}
	}
	if c.Secrets == nil {
		c.Secrets = map[string]record{}
	}
	return c.Secrets, nil
}

func (s *Store) path() string { return filepath.Join(s.dir, sealedName) }

func (r record) info(name string) Info {
	return Info{Name: name, Created: r.Created, Updated: r.Updated, Binding: Binding{Hosts: slices.Clone(r.Hosts)}}
}

// Derive makes a key of 32 bytes for a purpose, always the same one, from the
// store's own key. It is not kept among the secrets.
func (s *Store) Derive(purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(s.key.String()), nil, "moltworker derived key: "+purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive a key for %s: %w", purpose, err)
	}
	return key, nil
}
