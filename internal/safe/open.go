package safe

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

var errStarting = remedy.With(errors.New("the backup repository is being opened"), "try again in a moment")

const (
	firstPause   = time.Second
	longestPause = time.Minute
	openTimeout  = 2 * time.Minute // of one try
)

// open tries until the repository is open or ctx ends.
func (s *Safe) open(ctx context.Context) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := s.tryOpen(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.opts.Log.Error("backup does not work", "where", s.opts.Where, "err", err, "remedy", remedy.Of(err), "retry_in", pause)
		s.fail(err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.again:
			pause = firstPause
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// Reopen tries at once to open a repository that could not be opened: the settings
// have changed.
func (s *Safe) Reopen() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}

func (s *Safe) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.state
	switch {
	case errors.Is(err, backup.ErrKey):
		s.state = admin.BackupLocked
		err = remedy.With(err, "another host made this repository: give one of its keys to `moltworker backup unlock`, or on the Storage page")
	case errors.Is(err, blob.ErrUnavailable):
		s.state = admin.BackupAway
	default:
		s.state = admin.BackupFailed
	}
	if s.state != before {
		s.since = s.opts.Now()
	}
	s.err = err
	s.note()
}

func (s *Safe) tryOpen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err := s.opts.Store()
	if err != nil {
		return err
	}
	repo, err := backup.Open(ctx, store, s.opts.Key)
	if errors.Is(err, backup.ErrNoRepo) {
		repo, err = s.create(ctx, store)
	}
	if err != nil {
		return err
	}
	slots, err := repo.Recipients(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.repo, s.slots, s.err = repo, slots, nil
	s.state, s.since = admin.BackupReady, s.opts.Now()
	close(s.opened)
	for _, c := range s.charges {
		s.begin(c)
	}
	s.note()
	s.mu.Unlock()
	return nil
}

// create makes the repository, once it is sure that the store does what backups
// depend on. A key to it is told to the person who started us: the other one is
// lost with this machine.
func (s *Safe) create(ctx context.Context, store blob.Store) (*backup.Repo, error) {
	if err := blob.Check(ctx, store); err != nil {
		return nil, err
	}
	ours, err := s.opts.Key.Recipient()
	if err != nil {
		return nil, err
	}
	ours.Name = hostName()
	key, err := backup.GenerateKey()
	if err != nil {
		return nil, err
	}
	recovery, err := key.Recipient()
	if err != nil {
		return nil, err
	}
	recovery.Name = "recovery"
	repo, err := backup.Create(ctx, store, []backup.Recipient{ours, recovery})
	if errors.Is(err, blob.ErrExists) { // somebody was quicker
		return backup.Open(ctx, store, s.opts.Key)
	}
	if err == nil {
		s.opts.Recovery(key.Reveal())
	}
	return repo, err
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "a host"
	}
	return name
}

// opening waits for the repository, as long as ctx allows and there is hope.
func (s *Safe) opening(ctx context.Context) (*backup.Repo, error) {
	for {
		s.mu.Lock()
		repo, state, err, changed := s.repo, s.state, s.err, s.changed
		s.mu.Unlock()
		if repo != nil {
			return repo, nil
		}
		if state == admin.BackupLocked || state == admin.BackupFailed {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}
