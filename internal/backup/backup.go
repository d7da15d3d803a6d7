// Package backup owns the encrypted repository of agents' states: its format, its
// keys, and every operation on versions, from taking one of a live directory to
// proving that it restores. docs/backup-format.md describes the bytes.
//
// It must not know what an agent is, how its processes are held still, or where
// objects are kept: a [Source] says the one, a blob.Store does the other. What it
// reads from either is hostile.
package backup

import (
	"errors"
	"io/fs"
	"time"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNoRepo: there is no repository in the store.
	ErrNoRepo = errors.New("there is no backup repository")
	// ErrExists: there is a repository in the store already.
	ErrExists = errors.New("there is a backup repository already")
	// ErrKey: none of the keys given opens the repository.
	ErrKey = errors.New("the key does not open the backup repository")
	// ErrNoVersion: there is no such version.
	ErrNoVersion = errors.New("there is no such version")
	// ErrUnchanged: the state is that of the newest version; no new one was made.
	ErrUnchanged = errors.New("nothing has changed since the newest version")
	// ErrFenced: another host writes this agent's versions now. Nothing was written.
	ErrFenced = errors.New("another host backs this agent up")
	// ErrDamaged: what the store holds is not what was written there. The error that
	// wraps it names the object.
	ErrDamaged = errors.New("the backup is damaged")
)

// Version is one state of an agent that can be restored.
type Version struct {
	ID     string    `json:"id"`  // 16 hex digits, the same as Seq
	Seq    uint64    `json:"seq"` // grows by one from 1 within an agent
	Agent  string    `json:"agent"`
	Time   time.Time `json:"time"`   // when the state was held still
	Host   string    `json:"host"`   // who wrote it, for people
	Writer string    `json:"writer"` // who wrote it, for the fence
	Epoch  uint64    `json:"epoch"`  // grows when another host takes over
	Reason string    `json:"reason"` // "change", "asked for", "before a restore", "sleep", ...
	Parent uint64    `json:"parent,omitempty"`
	// Tags are the caller's own words, at most 64 of them.
	Tags map[string]string `json:"tags,omitempty"`
	// Damaged says why the version cannot be read; of such a one only ID and Seq are known.
	Damaged string `json:"damaged,omitempty"`
	Stats
}

// Stats is what taking a version came to.
type Stats struct {
	Files    int           `json:"files"`   // entries, directories and links included
	Bytes    int64         `json:"bytes"`   // of all files' contents, holes included
	Changed  int           `json:"changed"` // files read because they might have changed
	Read     int64         `json:"read"`    // bytes of those
	Stored   int64         `json:"stored"`  // bytes put into the store, the manifest included
	Objects  int           `json:"objects"` // put into the store
	Held     time.Duration `json:"held_ns"` // how long the state was held still
	Took     time.Duration `json:"took_ns"`
	Skipped  []Skipped     `json:"skipped,omitempty"` // at most 100 of them
	NSkipped int           `json:"n_skipped,omitempty"`
}

// Skipped is something in the tree that is not in the version.
type Skipped struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Kind is what an entry of a tree is.
type Kind string

// The kinds of entries.
const (
	KindDir     Kind = "dir"
	KindFile    Kind = "file"
	KindSymlink Kind = "symlink"
)

// Entry is one file, directory or link of a version.
type Entry struct {
	Path   string      `json:"path"` // relative to the home, with "/"; may hold any bytes but NUL
	Kind   Kind        `json:"kind"`
	Mode   fs.FileMode `json:"mode"` // permission bits, set-id and sticky bits as fs.FileMode has them
	UID    uint32      `json:"uid"`
	GID    uint32      `json:"gid"`
	Time   time.Time   `json:"time"`             // of last modification
	Size   int64       `json:"size"`             // of a file's content, holes included
	Target string      `json:"target,omitempty"` // of a symlink
	Link   string      `json:"link,omitempty"`   // path of an earlier entry that this is a hard link to
}

// Change is a difference between two trees.
type Change struct {
	Path string `json:"path"`
	What string `json:"what"` // "added", "removed", "content", "kind", "metadata"
	From int64  `json:"from"` // size before, -1 when there was none
	To   int64  `json:"to"`   // size after, -1 when there is none
}

// Report says what became of a state that was put back: compared with what was
// there before, or, where nothing was, with the version itself.
type Report struct {
	Version  Version  `json:"version"`
	Files    int      `json:"files"` // put back
	Bytes    int64    `json:"bytes"`
	Kept     int      `json:"kept"`               // entries that are as they were before
	Changes  []Change `json:"changes,omitempty"`  // against what was there before; at most 1000
	NChanges int      `json:"n_changes"`          // how many there are
	Warnings []string `json:"warnings,omitempty"` // what could not be put back as it was (an owner, an attribute); at most 100
}

// Damage is something that a verification found to be wrong.
type Damage struct {
	Object   string   `json:"object"`
	Why      string   `json:"why"`
	Versions []string `json:"versions,omitempty"` // IDs of those that cannot be restored whole because of it
}

// VerifyReport says what a verification looked at and found.
type VerifyReport struct {
	Full     bool      `json:"full"`
	Time     time.Time `json:"time"`
	Versions int       `json:"versions"`
	Packs    int       `json:"packs"`
	Chunks   int       `json:"chunks"`
	Bytes    int64     `json:"bytes"` // read from the store
	Damage   []Damage  `json:"damage,omitempty"`
}

// OK says whether every version restores as far as the verification looked.
func (r VerifyReport) OK() bool { return len(r.Damage) == 0 }

// RepairReport says what a repair came to.
type RepairReport struct {
	Mended []string `json:"mended"` // objects that are whole again
	Lost   []Damage `json:"lost"`   // what is not to be had any more
}

// Policy says which versions are kept: the newest Last ones, and the newest one of
// each of the newest Hourly hours, Daily days, Weekly weeks (ISO) and Monthly
// months that have any, in UTC. The newest version is always kept.
type Policy struct {
	Last    int `json:"last"`
	Hourly  int `json:"hourly"`
	Daily   int `json:"daily"`
	Weekly  int `json:"weekly"`
	Monthly int `json:"monthly"`
}

// PruneReport says what was let go of.
type PruneReport struct {
	Kept      int   `json:"kept"`      // versions
	Removed   int   `json:"removed"`   // versions
	Condemned int   `json:"condemned"` // packs that will be deleted by a later run
	Deleted   int   `json:"deleted"`   // packs
	Freed     int64 `json:"freed"`     // bytes
}
