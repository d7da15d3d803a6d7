package admin

import (
	"context"
	"io"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
)

// Backups is what the control plane asks of the backup of agents; see package safe,
// which is one, for what the methods promise. Names of agents are those of agents
// that are or were; a version is named by its ID or by "latest".
type Backups interface {
	// Overview says where versions are kept, and how each agent's are. It reads
	// nothing from the store.
	Overview() BackupOverview
	// Changed is closed when what Overview says has changed since the call.
	Changed() <-chan struct{}

	// Now makes a version of all that an agent has at this moment. Where nothing
	// has changed it returns the newest version.
	Now(ctx context.Context, agent, reason string) (backup.Version, error)
	Versions(ctx context.Context, agent string) ([]backup.Version, error)
	// Contents lists one directory of a version; "" is the home itself.
	Contents(ctx context.Context, agent, version, dir string) ([]backup.Entry, error)
	// Parts says how each part of what an agent needs is in a version.
	Parts(ctx context.Context, agent, version string) ([]StatePart, error)
	// File opens a file of a version, and says how large it is.
	File(ctx context.Context, agent, version, path string) (io.ReadCloser, int64, error)
	// Diff says what differs between two versions.
	Diff(ctx context.Context, agent, from, to string) ([]backup.Change, error)

	// Restore puts a version in an agent's place, or makes another agent of it. What
	// was there is kept as a version of its own first.
	Restore(ctx context.Context, agent, version string, to RestoreTo, tell func(string)) (Restored, error)
	// Verify looks whether every version of an agent can be restored; full reads
	// and decrypts every byte.
	Verify(ctx context.Context, agent string, full bool, tell func(string)) (backup.VerifyReport, error)
	// Repair mends what a full verification finds to be damaged, from what the agent
	// still has.
	Repair(ctx context.Context, agent string, tell func(string)) (backup.RepairReport, error)
	// Prune lets go of versions that the policy does not keep, and of what only they
	// needed.
	Prune(ctx context.Context, agent string) (backup.PruneReport, error)
	// Drill restores the newest version into a scratch agent, looks at every
	// database, boots OpenClaw on it, asks for its health, and discards it.
	Drill(ctx context.Context, agent string, tell func(string)) (Drill, error)
	// Claim makes this host the one that writes an agent's versions.
	Claim(ctx context.Context, agent string) error

	// Unlock gives this host a key to a repository that another host made.
	Unlock(ctx context.Context, key string) error
	Keys(ctx context.Context) ([]BackupKey, error)
	// AddKey lets a recipient open the repository: "age1...", "ssh-ed25519 ...", or
	// a passphrase behind "passphrase:".
	AddKey(ctx context.Context, name, recipient string) (BackupKey, error)
	// NewKey makes a key, lets it open the repository, and returns its secret half,
	// which is kept nowhere.
	NewKey(ctx context.Context, name string) (BackupKey, string, error)
	RemoveKey(ctx context.Context, id string) error

	// Import makes an agent of a foreign state at a path of this machine, or, with
	// "r2:", in the bucket of Cloudflare's moltworker that the settings name.
	Import(ctx context.Context, agent, from string, tell func(string)) (Imported, error)
	// Export writes an agent's newest state, or a version of it, as one file that a
	// plain OpenClaw can run; encrypted to a recipient unless that is "".
	Export(ctx context.Context, agent, version, recipient string, w io.Writer) error
}

// States of the backup as a whole.
const (
	BackupOff      = "off"      // switched off
	BackupStarting = "starting" // the repository has not been opened yet
	BackupReady    = "ready"
	BackupAway     = "away"   // the store cannot be reached; it is tried again
	BackupLocked   = "locked" // another host made the repository; this one has no key to it
	BackupFailed   = "failed" // it needs a person
)

// BackupOverview is the backup as a whole.
type BackupOverview struct {
	State      string        `json:"state"`       // one of the Backup constants
	Where      string        `json:"where"`       // the store, for people; no credentials
	OffMachine bool          `json:"off_machine"` // the store is not on this machine's own disk
	Error      string        `json:"error,omitempty"`
	Remedy     string        `json:"remedy,omitempty"`
	Since      time.Time     `json:"since"`    // of State
	Recovery   bool          `json:"recovery"` // a key beside this host's can open it
	Policy     backup.Policy `json:"policy"`
	Agents     []AgentBackup `json:"agents"`
	Missing    []string      `json:"missing,omitempty"` // settings it would need
}

// AgentBackup is how one agent's backup is.
type AgentBackup struct {
	Agent string `json:"agent"`
	safekeeper.Status
	Drill    *Drill               `json:"drill,omitempty"`    // the last one
	Verified *backup.VerifyReport `json:"verified,omitempty"` // the last one
}

// Drill is the trial of a restore.
type Drill struct {
	Agent     string        `json:"agent"`
	Version   string        `json:"version"`
	Time      time.Time     `json:"time"`
	OK        bool          `json:"ok"`
	Error     string        `json:"error,omitempty"`
	Files     int           `json:"files"`
	Bytes     int64         `json:"bytes"`
	Databases int           `json:"databases"` // that passed their integrity check
	Restored  time.Duration `json:"restored_ns"`
	Booted    time.Duration `json:"booted_ns"`
}

// StatePart is a part of what an agent needs, as a version has it.
type StatePart struct {
	Name     string    `json:"name"`
	What     string    `json:"what"`
	Critical bool      `json:"critical"` // without it the agent is not itself any more
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Changed  time.Time `json:"changed,omitzero"` // the newest file's time
}

// RestoreTo says where a version is put.
type RestoreTo struct {
	As   string   `json:"as,omitempty"`   // a new agent of that name; "": in place
	Only []string `json:"only,omitempty"` // paths; in place only
}

// Restored is what a restore came to.
type Restored struct {
	backup.Report
	Before string `json:"before,omitempty"` // the version that holds what was there before
	Agent  string `json:"agent"`
	Link   string `json:"link,omitempty"` // of a new agent
}

// BackupKey is something that opens the repository.
type BackupKey struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Recipient string    `json:"recipient"` // its public half; "passphrase" for one
	Added     time.Time `json:"added"`
	Ours      bool      `json:"ours"` // this host's
}

// Imported is what an import came to.
type Imported struct {
	Agent    string   `json:"agent"`
	Link     string   `json:"link"`
	Kind     string   `json:"kind"`    // what was recognised
	Kept     []string `json:"kept"`    // what was taken over, in words
	Changed  []string `json:"changed"` // what was altered, and why
	Dropped  []string `json:"dropped"` // what was left out, and why
	Secrets  []string `json:"secrets"` // names of those moved to the sealed store
	Warnings []string `json:"warnings"`
}
