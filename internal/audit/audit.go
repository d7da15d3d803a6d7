// Package audit owns the record of who did what: an append-only log in the
// control plane's database in which every entry names the hash of the one before
// it, so that an entry that was altered, removed, moved or put in later is found.
// The hash of the last entry is also kept in a file beside the database, the
// head file, so that a log that was cut at its end is found as well. Whoever can
// write both files can write another log: who fears that notes the head, which
// [Log.Verify] reports, somewhere else.
//
// The bytes. An entry is one JSON object, without white space, of ASCII
// characters only:
//
//	{"seq":7,"time":"2026-01-02T15:04:05.678Z","prev":"HASH","action":"device.approve", ...}
//
// Its fields come in this order: seq, time (UTC, to the millisecond), prev,
// action, actor, via, from, agent, target, old, new, detail. Those after action
// are left out when empty. In strings, " and \ have a backslash before them;
// what is not a printable ASCII character is \uXXXX in lower case, as a pair
// above U+FFFF. Numbers begin at 1 and have no gaps. The hash of an entry is the
// SHA-256 of exactly these bytes, in lower-case hex; prev is the hash of the
// entry before, and 64 zeros in the first. [Log.Export] writes one line for each
// entry:
//
//	{"hash":"HASH","entry":ENTRY}
//
// so that the entry's bytes are the line without its first 83 characters and its
// last. The head file (audit.head) holds SEQ:HASH of the last entry.
//
// The order of writing: the entry is on stable storage before the head file
// names it, so that a crash leaves a head file that is behind, which is no sign
// of anything, and never one that is ahead, which is a log that was cut. Record
// returns after both. A backup copies the head file before the database.
//
// It must not know what the actions mean or who may do them, and it is never
// given a secret's value.
package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/store"
)

// Broken is the action of the entry with which the log goes on after it was
// found not to end as it once did. Detail says how it was found.
const Broken = "audit.broken"

// patience bounds how long an entry waits for the disk and for other writers. A
// caller that goes away does not end it.
const patience = 30 * time.Second

// Event is what happened. Each field holds at most 1 KiB, what is longer is cut,
// and never a secret's value: only that it changed.
type Event struct {
	Action string `json:"action"`           // area.verb: "device.approve", "signin.denied"
	Actor  string `json:"actor,omitempty"`  // who did it, as access.Principal.String says
	Via    string `json:"via,omitempty"`    // how that was established
	From   string `json:"from,omitempty"`   // the address it came from
	Agent  string `json:"agent,omitempty"`  // which agent it was done to
	Target string `json:"target,omitempty"` // what it was done to: a device, a secret's name
	Old    string `json:"old,omitempty"`    // what that was before
	New    string `json:"new,omitempty"`    // and since
	Detail string `json:"detail,omitempty"`
}

// By is an event of the caller in ctx: Actor, Via and From are filled in.
func By(ctx context.Context) Event {
	var e Event
	if p := access.From(ctx); p.Kind != "" {
		e.Actor, e.Via = p.String(), p.Via
	}
	if client := access.At(ctx).Client; client.IsValid() {
		e.From = client.String()
	}
	return e
}

// Log is the audit log of one database. Its methods may be called from anywhere.
type Log struct {
	// Redact takes out of what is recorded what must not be shown; nil takes
	// nothing. Set it before the first use.
	Redact func(string) string
	// Failed is told when a denial could not be recorded; it is counted, and
	// recorded later. nil tells nobody. Set it before the first use.
	Failed func(error)

	db   *store.DB
	now  func() time.Time
	file string // the head file

	turn      chan struct{} // holds one token, whoever has it appends
	anchoring chan struct{} // holds one token, whoever has it writes the head file
	anchored  Head          // what the head file names; of who has that token

	mu       sync.Mutex // guards what follows
	known    Head       // the last entry of ours, or what the head file named at first
	isKnown  bool
	watchers map[chan Entry]struct{}

	denials denials
}

// New makes the log of a database. Nothing is read before the first use.
func New(db *store.DB, now func() time.Time) *Log {
	l := &Log{
		db: db, now: now, file: filepath.Join(filepath.Dir(db.Path()), HeadFile),
		turn: make(chan struct{}, 1), anchoring: make(chan struct{}, 1),
		watchers: map[chan Entry]struct{}{},
	}
	l.turn <- struct{}{}
	l.anchoring <- struct{}{}
	return l
}

// Record appends an event. When it returns nil, the event is on stable storage.
// The end of ctx does not keep what has happened from being recorded.
func (l *Log) Record(ctx context.Context, e Event) error {
	if e.Action == "" {
		return errors.New("record in the audit log: an event needs an action")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	head, err := l.append(ctx, e.clean(l.Redact))
	if err == nil {
		err = l.anchor(ctx, head)
	}
	if err != nil {
		return fmt.Errorf("record %s in the audit log: %w", e.Action, err)
	}
	return nil
}

// append puts an event behind the last entry, and a word about it in between when
// that is not the entry it should be.
func (l *Log) append(ctx context.Context, e Event) (Head, error) {
	if err := take(ctx, l.turn); err != nil {
		return Head{}, err
	}
	defer func() { l.turn <- struct{}{} }()
	var head Head
	var added []Entry
	err := l.db.AuditTail(ctx, func(tail *store.AuditTail) error {
		last, broken, err := l.end(ctx, tail)
		if err != nil {
			return err
		}
		events := []Event{e}
		if broken != "" {
			events = []Event{{Action: Broken, Detail: broken}, e}
		}
		head, added = last, nil
		for _, e := range events {
			entry := Entry{Seq: head.Seq + 1, Time: l.now().UTC().Truncate(time.Millisecond), Prev: head.hash(), Event: e}
			body := entry.encode()
			hash := sum(body)
			entry.Hash = hash.String()
			row := store.AuditRow{Seq: entry.Seq, At: entry.Time, Action: e.Action, Actor: e.Actor, Agent: e.Agent, Entry: body, Hash: hash[:]}
			if err := tail.Append(ctx, row); err != nil {
				return err
			}
			head = Head{entry.Seq, entry.Hash}
			added = append(added, entry)
		}
		return nil
	})
	if err != nil {
		return Head{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known, l.isKnown = head, true
	l.publish(added)
	return head, nil
}

// end returns the entry after which the log goes on, and what is wrong with the
// log's end, if anything. It goes on behind the entries that there should be, so
// that what is missing, or replaced, stays to be seen.
func (l *Log) end(ctx context.Context, tail *store.AuditTail) (last Head, broken string, err error) {
	last = headOf(tail.Last)
	known, isKnown := l.memory()
	who := "this process recorded"
	if !isKnown {
		who = "the head file names"
		known, err = readHead(l.file)
		switch {
		case errors.Is(err, errNoHead) && last.Seq == 0:
			// The first entry ever. From now on there is a head file.
			return last, "", writeHead(l.file, last)
		case errors.Is(err, errNoHead):
			return last, fmt.Sprintf("%v; entries after %d may be missing", err, last.Seq), nil
		case err != nil:
			return last, "", err
		}
	}
	switch {
	case last == known:
		return last, "", nil
	case last.Seq < known.Seq:
		return known, fmt.Sprintf("%s entry %d, but the last one is %d", who, known.Seq, last.Seq), nil
	case known.Seq == 0:
		return last, "", nil
	}
	row, err := tail.Row(ctx, known.Seq)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return last, fmt.Sprintf("%s entry %d, which is missing", who, known.Seq), nil
	case err != nil:
		return last, "", err
	case headOf(row) != known:
		if last.Seq == known.Seq {
			last = known
		}
		return last, fmt.Sprintf("%s entry %d with hash %s, but that entry has hash %s", who, known.Seq, known.Hash, headOf(row).Hash), nil
	}
	return last, "", nil
}

// anchor has the head file name head or a later entry.
func (l *Log) anchor(ctx context.Context, head Head) error {
	if err := take(ctx, l.anchoring); err != nil {
		return err
	}
	defer func() { l.anchoring <- struct{}{} }()
	if l.anchored.Seq >= head.Seq {
		return nil // by somebody who recorded at the same time
	}
	// Nobody appends meanwhile, so that no other process puts an older head over
	// a newer one.
	return l.db.AuditTail(ctx, func(tail *store.AuditTail) error {
		if last := headOf(tail.Last); last.Seq > head.Seq {
			head = last
		}
		if err := writeHead(l.file, head); err != nil {
			return err
		}
		l.anchored = head
		return nil
	})
}

// memory is the last entry that this process knows of.
func (l *Log) memory() (known Head, isKnown bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known, l.isKnown
}

func take(ctx context.Context, turn chan struct{}) error {
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other entries: %w", ctx.Err())
	}
}
