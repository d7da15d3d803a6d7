package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// LogEntry is one line of an agent's log, as stored and as shown: a line of JSON.
type LogEntry struct {
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"` // "stdout", "stderr", or "guest" for PID 1's own words
	Text   string    `json:"text"`
	Boot   string    `json:"boot,omitempty"` // identity of the guest that said it
	Seq    uint64    `json:"seq,omitempty"`  // of the guest's event
}

// Bounds of the log on disk: the current file and its predecessors.
const (
	logFileSize  = 8 << 20 // bytes after which a new file is begun
	logFileCount = 3       // files kept, the current one included
	logFollowers = 256     // entries a follower may lag behind before it loses some
)

// logbook appends an agent's log to a file of bounded size and lets readers tail
// and follow it.
type logbook struct {
	path string

	mu        sync.Mutex // guards all below
	file      *os.File   // nil when there is none to write to
	closed    bool
	size      int64
	last      LogEntry // last entry that came from a guest
	followers map[chan LogEntry]struct{}
}

// openLogbook opens or makes the log and finds the last guest event in it, so
// that a restarted host takes up where it stopped.
func openLogbook(path string) (*logbook, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	l := &logbook{path: path, followers: map[chan LogEntry]struct{}{}}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	entries, err := l.tail(1000)
	if err != nil {
		l.file.Close()
		return nil, err
	}
	for _, e := range entries {
		if e.Boot != "" {
			l.last = e
		}
	}
	return l, nil
}

func (l *logbook) reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// resume says after which event of the guest named boot the log continues.
func (l *logbook) resume(boot string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.Boot == boot {
		return l.last.Seq
	}
	return 0
}

// append stores one entry and hands it to the followers.
func (l *logbook) append(e LogEntry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode log entry: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fs.ErrClosed
	}
	if l.file == nil { // the last rotation failed
		if err := l.reopen(); err != nil {
			return err
		}
	}
	if l.size+int64(len(line)) > logFileSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(append(line, '\n'))
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if e.Boot != "" {
		l.last = e
	}
	for ch := range l.followers {
		select {
		case ch <- e:
		default: // the follower lags; it loses entries rather than hold us up
		}
	}
	return nil
}

func (l *logbook) rotate() error {
	l.file.Close()
	l.file = nil
	for i := logFileCount - 1; i >= 1; i-- {
		from := l.path
		if i > 1 {
			from = fmt.Sprintf("%s.%d", l.path, i-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", l.path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	return l.reopen()
}

// tail returns up to n of the newest entries, oldest first.
func (l *logbook) tail(n int) ([]LogEntry, error) {
	entries, err := tailFile(l.path, n)
	if err != nil || len(entries) >= n {
		return entries, err
	}
	older, err := tailFile(l.path+".1", n-len(entries))
	return append(older, entries...), err
}

// follow returns the newest n entries and a channel of those that come after
// them, until ctx ends and the channel is closed.
func (l *logbook) follow(ctx context.Context, n int) ([]LogEntry, <-chan LogEntry, error) {
	ch := make(chan LogEntry, logFollowers)
	l.mu.Lock()
	defer l.mu.Unlock()
	entries, err := l.tail(n)
	if err != nil {
		return nil, nil, err
	}
	l.followers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.followers, ch)
		close(ch)
	})
	return entries, ch, nil
}

func (l *logbook) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// tailFile reads the last n whole entries of a log file, whose size append
// bounds. A missing file has none; a torn or foreign line is passed over.
func tailFile(path string, n int) ([]LogEntry, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || n <= 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	lines = lines[max(0, len(lines)-n):]
	entries := make([]LogEntry, 0, len(lines))
	for _, line := range lines {
		var e LogEntry
		if json.Unmarshal(line, &e) == nil {
			entries = append(entries, e)
		}
	}
	return entries, nil
}
