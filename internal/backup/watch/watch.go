// Package watch owns noticing that something below a directory has changed. It
// does not say what: whoever is told looks for himself.
//
// It asks the kernel by inotify, and looks at all times of modification now and
// then besides, because writes to mapped memory cause no event. Where inotify
// cannot be had, or the tree has too many directories for it, looking is all it
// does. The tree is hostile: nothing in it is opened but directories, no symbolic
// link is followed, and all counts have bounds.
//
// inotify is used directly. A library that adds watches by path would follow a
// link that was put there a moment earlier; here a directory is opened below its
// parent, without following, and it is the open one that is watched.
//
// It must not know what is done about a change, or whose directory it is.
package watch

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Options of a Watcher. The zero value is good.
type Options struct {
	// MaxWatches bounds the directories watched by inotify; 32768 when 0. Each takes
	// about 1.5 KB. A tree with more of them is polled.
	MaxWatches int
	// Poll is the pause between two looks at a tree that is polled; 5 s when 0.
	Poll time.Duration
	// Net is the pause between two looks at a tree that is watched; 60 s when 0.
	Net time.Duration
	Log *slog.Logger // none when nil

	// For tests.
	after      func(time.Duration) <-chan time.Time
	now        func() time.Time
	open       func() (*inotify, error)
	maxEntries int
}

const (
	modeStarting = "starting"
	modeInotify  = "inotify"

	defaultWatches = 32768
	defaultPoll    = 5 * time.Second
	defaultNet     = time.Minute

	// maxEntries bounds a look. A tree with more cannot be told to be unchanged.
	maxEntries = 5_000_000
	// maxDepth and maxPath bound where a look goes: nothing deeper is looked at. No
	// program can name a path longer than 4096 bytes to the system.
	maxDepth = 512
	maxPath  = 4096

	// restful is how many times as long as it took a look is rested from at least.
	restful = 10
	// retryLooks is after how many looks at a polled tree inotify is tried again.
	retryLooks = 100
	// tickOfFiles bounds how coarse a file system's clock may be.
	tickOfFiles = 2 * time.Second
	// breath is the least pause between two readings of events, so that a busy writer
	// costs fifty of them a second and not thousands; longBreath the longest, after
	// events that took long to follow.
	breath     = 20 * time.Millisecond
	longBreath = 2 * time.Second
)

// Watcher watches one directory tree.
type Watcher struct {
	dir     string
	leave   func(path string, dir bool) bool
	opts    Options
	changes chan struct{}
	mode    atomic.Pointer[string]
	seed    maphash.Seed

	last picture // what the last look saw; Run's
}

// New returns a watcher of dir, which need not exist yet, and may vanish and be
// replaced at any time; its parent is trusted. leave, unless nil, says what below
// dir does not count: it is given paths relative to dir, with "/", is called by Run
// only, and must always say the same of the same path. What is below a directory
// that it leaves out is not asked for.
func New(dir string, leave func(path string, dir bool) bool, opts Options) (*Watcher, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir == "/" {
		return nil, errors.New("watch: the whole file system is too much")
	}
	if leave == nil {
		leave = func(string, bool) bool { return false }
	}
	w := &Watcher{
		dir: dir, leave: leave, opts: opts.withDefaults(),
		changes: make(chan struct{}, 1),
		seed:    maphash.MakeSeed(),
		last:    picture{absent: true},
	}
	w.setMode(modeStarting)
	return w, nil
}

func (opts Options) withDefaults() Options {
	if opts.MaxWatches <= 0 {
		opts.MaxWatches = defaultWatches
	}
	if opts.Poll <= 0 {
		opts.Poll = defaultPoll
	}
	if opts.Net <= 0 {
		opts.Net = defaultNet
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.after == nil {
		opts.after = time.After
	}
	if opts.now == nil {
		opts.now = time.Now
	}
	if opts.open == nil {
		opts.open = openInotify
	}
	if opts.maxEntries == 0 {
		opts.maxEntries = maxEntries
	}
	return opts
}

// Changes holds one token when something has changed since the last one was taken:
// whatever is changed before a token is put there can be seen by who takes it. Run
// puts one there too when it begins, as it cannot know what changed before. When the
// directory vanishes there is none; when there is one again, there is.
func (w *Watcher) Changes() <-chan struct{} { return w.changes }

// Mode says how changes are noticed: "inotify", "polling: REASON", or "starting".
func (w *Watcher) Mode() string { return *w.mode.Load() }

func (w *Watcher) setMode(mode string) { w.mode.Store(&mode) }

// signal says that something has changed.
func (w *Watcher) signal() {
	select {
	case w.changes <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends, and returns nil then. It is called once.
func (w *Watcher) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		w.attend(ctx)
	}
	return nil
}
