// Package safe owns the backup of the agents that run here: it opens the repository
// and goes on trying when it cannot, keeps every agent's state safe in it while that
// agent is there, puts states back, proves now and then that they can be, and takes
// foreign ones in. It is what the control plane calls Backups.
//
// It must not know how versions are made and stored (backup, safekeeper), nor how an
// agent lives: an [Agent] is held still, or gets another home, by its own means.
package safe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/migrate"
)

// Agent is what backup asks of an agent; see agent.Agent for what its methods
// promise.
type Agent interface {
	Name() string
	Home() string
	Runs(ctx context.Context) <-chan bool
	Hold(ctx context.Context, do func() error) error
	Replace(ctx context.Context, do func() error) error
}

// Part is a kind of thing in a home, by which a version is described to people.
type Part struct {
	Name, What string
	Critical   bool
}

// Options say what is kept safe, and how. All fields are required unless marked.
type Options struct {
	// Dir is a directory of ours: what we know of each agent's versions, and room for
	// scratch agents.
	Dir string
	// Store opens the store that the settings name now. It is asked again whenever
	// opening failed.
	Store func() (blob.Store, error)
	Where string // the store, for people
	// OffMachine: the store is elsewhere than on this machine's own disks.
	OffMachine bool
	// Key is this host's key to the repository.
	Key backup.Key
	// Recovery is told the secret half of the key that opens a new repository when
	// this host is lost. It is kept nowhere.
	Recovery func(key string)
	Policy   backup.Policy

	// Leave says what of a home is not part of the state.
	Leave func(path string, dir bool) bool
	Parts []Part
	// PartOf names the part that a path belongs to.
	PartOf func(path string) string

	// Create makes and starts an agent whose home is what fill puts into that
	// directory, which is empty, and says where to open it.
	Create func(ctx context.Context, name string, fill func(home string) error) (link string, err error)
	// Try boots a scratch agent on a home, without anything that reaches out of it,
	// looks at its databases and its health, and ends it.
	Try func(ctx context.Context, home string, tell func(string)) (Trial, error)
	// DrillEvery is the pause between two trials of a restore; 0: none but those asked
	// for.
	DrillEvery time.Duration
	// Bucket opens the bucket of Cloudflare's moltworker, to import from.
	Bucket func() (migrate.Bucket, error)
	// PutSecret keeps a secret that was found in a foreign state; of which agent it is.
	PutSecret func(ctx context.Context, agent, name, value string) error

	Log *slog.Logger
	Now func() time.Time // optional: time.Now
}

// Trial is what a scratch agent showed.
type Trial struct {
	Databases int           // that passed their integrity check
	Booted    time.Duration // how long OpenClaw took
}

// Safe keeps agents' states safe. Its methods may be called concurrently.
type Safe struct {
	opts   Options
	writer string
	life   context.Context // ends when the last versions have been made
	end    context.CancelFunc
	turns  chan struct{} // bounds how many versions are made at once
	again  chan struct{} // holds a token when opening is to be tried at once

	mu      sync.Mutex // guards what follows
	state   string
	since   time.Time
	err     error
	repo    *backup.Repo
	opened  chan struct{} // closed when repo is set
	slots   []backup.Slot // as far as they are known
	charges map[string]*charge
	changed chan struct{} // closed and replaced at each change
	running sync.WaitGroup
	drills  sync.Mutex // held during one: they take a whole agent's room
}

var _ admin.Backups = (*Safe)(nil)

// New prepares; nothing happens before [Safe.Run].
func New(opts Options) (*Safe, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the backup's directory: %w", err)
	}
	// Scratch agents of an earlier process are of no use.
	if err := os.RemoveAll(filepath.Join(opts.Dir, "scratch")); err != nil {
		return nil, fmt.Errorf("remove what an earlier trial left: %w", err)
	}
	writer, err := identity(filepath.Join(opts.Dir, "writer"))
	if err != nil {
		return nil, err
	}
	s := &Safe{
		opts: opts, writer: writer, again: make(chan struct{}, 1), turns: make(chan struct{}, runtime.NumCPU()),
		state: admin.BackupStarting, since: opts.Now(), opened: make(chan struct{}),
		charges: map[string]*charge{}, changed: make(chan struct{}),
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// identity is what tells this data directory from every other that writes to a
// repository.
func identity(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 && len(data) < 100 {
		return strings.TrimSpace(string(data)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read who writes backups here: %w", err)
	}
	id := strings.ToLower(rand.Text())
	if err := atomicfile.Write(path, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep who writes backups here: %w", err)
	}
	return id, nil
}

// lastVersions bounds how long stopping waits for what has not been stored yet. What
// is not by then is in the homes, and stored after the next start. With the end of the
// agents before it, it fits into the 90 seconds that systemd gives a service to stop.
const lastVersions = time.Minute

// Run opens the repository, keeps the agents' states safe until ctx ends, and then
// makes the last versions, when the agents have stopped.
func (s *Safe) Run(ctx context.Context) error {
	defer s.end()
	go s.open(ctx)
	var drills sync.WaitGroup
	drills.Go(func() { s.drillNowAndThen(ctx) })
	<-ctx.Done()
	drills.Wait()
	s.finish()
	s.end()
	s.running.Wait()
	return nil
}

// finish makes a last version of every agent.
func (s *Safe) finish() {
	ctx, cancel := context.WithTimeout(s.life, lastVersions)
	defer cancel()
	if s.repository() == nil {
		return
	}
	var all sync.WaitGroup
	for _, c := range s.all() {
		all.Go(func() {
			if _, err := c.keeper.SaveNow(ctx, "moltworker stops"); err != nil {
				s.opts.Log.Warn("the last changes are not in the backup", "agent", c.name, "err", err)
			}
		})
	}
	all.Wait()
}

// note wakes those who wait for a change. It needs mu.
func (s *Safe) note() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Changed is closed at the next change of what Overview says.
func (s *Safe) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// repository is the open repository, or nil.
func (s *Safe) repository() *backup.Repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repo
}

// ready is the open repository, or why there is none yet.
func (s *Safe) ready() (*backup.Repo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repo != nil {
		return s.repo, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	return nil, errStarting
}
