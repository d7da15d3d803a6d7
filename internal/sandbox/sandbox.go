// Package sandbox owns the contract between moltworker and whatever isolates an
// agent from the host: start a machine from a [Spec], find it again after the
// host process was replaced, and take it away without leaving a trace.
//
// It must not know what runs inside (OpenClaw, the guest's protocol) nor who
// asked for it. Implementations: gvisor (the default) and process (bubblewrap).
// Both pass the suite in sandboxtest; a new driver starts there.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: no sandbox of that ID is running under this driver's root.
	ErrNotFound = errors.New("sandbox not found")
	// ErrExists: a sandbox of that ID is running already.
	ErrExists = errors.New("sandbox exists already")
	// ErrUnavailable: this driver cannot run on this machine. The error that
	// wraps it says why and what would change it.
	ErrUnavailable = errors.New("sandbox driver unavailable")
)

// A Driver makes sandboxes. All methods may be called concurrently; two calls
// about one ID are serialised by the driver.
type Driver interface {
	// Name is the driver's name in configuration and status: "gvisor" or
	// "process".
	Name() string

	// Probe says whether the driver can run here and what it can and cannot
	// enforce. It starts nothing that outlives the call.
	Probe(ctx context.Context) Report

	// Start makes a sandbox and starts its first process, which becomes PID 1.
	// When Start returns an error, nothing of the sandbox is left: no process,
	// mount, cgroup or file. ctx bounds the start only, not the sandbox's life:
	// a sandbox outlives the process that started it.
	// Errors: ErrExists, ErrUnavailable, or what went wrong.
	Start(ctx context.Context, spec Spec) (Sandbox, error)

	// Open finds a running sandbox, started by this or by an earlier process
	// with the same root. A sandbox whose PID 1 has ended is not found; its
	// remains are cleaned away before ErrNotFound is returned.
	Open(ctx context.Context, id string) (Sandbox, error)

	// List names the sandboxes running under this driver's root, sorted.
	List(ctx context.Context) ([]string, error)
}

// A Sandbox is one running isolated machine.
type Sandbox interface {
	ID() string

	// Wait blocks until PID 1 has ended, however that came about, and says how.
	// It may be called any number of times, by any process that opened the
	// sandbox. When the exit status cannot be known (the sandbox was killed from
	// outside, or the host process is not its parent) Exit.Known is false.
	Wait(ctx context.Context) (Exit, error)

	// Signal sends a signal to PID 1. ErrNotFound once it has ended.
	Signal(ctx context.Context, sig syscall.Signal) error

	// Usage says what the sandbox takes now.
	Usage(ctx context.Context) (Usage, error)

	// Destroy kills everything inside and removes all that the driver made for
	// it: processes, mounts, cgroups, run-time files. What was mounted into the
	// sandbox stays. It is idempotent, and complete when it returns nil.
	Destroy(ctx context.Context) error
}

// Spec says what to run and what it may see. The driver gives every sandbox,
// unasked: the host's /usr, /bin, /sbin and /lib* read-only, an /etc of our own
// without any of the host's accounts or names, a fresh /proc, a minimal /dev, a
// writable memory-backed /tmp and root overlay of at most Limits.Scratch bytes,
// a loopback interface and no other network, no capabilities, no new
// privileges, and an unprivileged user where the driver can have one.
type Spec struct {
	// ID names the sandbox under the driver's root; see [ValidateID].
	ID string
	// Hostname is what the sandbox believes its name to be.
	Hostname string
	// Args is PID 1's argument vector; Args[0] is an absolute path inside.
	Args []string
	// Env is PID 1's whole environment, except that HOME is the guest user's
	// home (/home/agent) where Env has none. Nothing is inherited from the host.
	Env []string
	// Dir is PID 1's working directory inside; "/" when empty.
	Dir string
	// Mounts are added on top of the root described above.
	Mounts []Mount
	Limits Limits
	// Log is a host file, made if missing, to which PID 1's stdout and stderr
	// are appended. Required: PID 1's last words must survive it.
	Log string
}

// Mount shows a host directory or file at an absolute path inside.
type Mount struct {
	Source      string // host path, absolute, must exist
	Destination string // absolute path inside; the driver makes the mount point
	// ReadOnly mounts cannot be written from inside. Unix sockets in a
	// read-only directory can still be connected to. The guest is another user
	// than the host's: what it is to read or connect to must be open to others
	// (a socket 0666 in a directory 0755, hidden by a directory 0700 above).
	ReadOnly bool
	// Private marks a writable directory as belonging to this sandbox alone:
	// the driver hands it to the guest's user (recursively, once, when its
	// owner differs).
	Private bool
	// Unchanging marks a read-only source that nobody changes while a sandbox
	// has it, so that the driver need not look again at what it saw once.
	Unchanging bool
}

// Limits bounds what a sandbox may take. Zero means no limit of that kind.
// A limit that the driver cannot enforce here is named in its [Report]; it never
// makes Start fail.
type Limits struct {
	Memory  int64   // bytes, of the whole sandbox and its supervisor
	CPUs    float64 // cores
	PIDs    int64   // processes and threads as the host counts them; at least 512
	Scratch int64   // bytes of memory-backed writable file system
}

// Exit says how PID 1 ended.
type Exit struct {
	Known  bool           // false: it ended, but nobody can say how
	Code   int            // exit code when Signal is 0
	Signal syscall.Signal // signal that ended it, or 0
}

func (e Exit) String() string {
	switch {
	case !e.Known:
		return "ended, exit status unknown"
	case e.Signal != 0:
		return fmt.Sprintf("killed by signal %d (%s)", int(e.Signal), e.Signal)
	default:
		return fmt.Sprintf("exited with code %d", e.Code)
	}
}

// Usage is a moment's consumption. A negative number means that the driver
// cannot tell here.
type Usage struct {
	MemoryBytes int64
	CPU         time.Duration // since the start
	PIDs        int64
}

// Report is what a driver can do on this machine.
type Report struct {
	Driver    string  `json:"driver"`
	Available bool    `json:"available"`
	Summary   string  `json:"summary"` // one line, e.g. "gVisor, systrap, root"
	Checks    []Check `json:"checks"`
}

// Check is one line of doctor-style output.
type Check struct {
	Name   string `json:"name"` // e.g. "memory limit"
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`           // what was found
	Remedy string `json:"remedy,omitempty"` // what to do about it when not OK
}

var idPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// ValidateID says whether id may name a sandbox: 1 to 40 of a-z, 0-9 and inner
// hyphens, i.e. a DNS label. It is also a file name and a cgroup name.
func ValidateID(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("sandbox id %q: want 1 to 40 characters of a-z, 0-9 and inner '-'", id)
	}
	return nil
}

// Validate checks a Spec before a driver acts on it.
func (s Spec) Validate() error {
	if err := ValidateID(s.ID); err != nil {
		return err
	}
	if len(s.Args) == 0 || !filepath.IsAbs(s.Args[0]) {
		return fmt.Errorf("sandbox %s: Args[0] must be an absolute path inside", s.ID)
	}
	if s.Log == "" || !filepath.IsAbs(s.Log) {
		return fmt.Errorf("sandbox %s: Log must be an absolute host path", s.ID)
	}
	for _, word := range s.words() {
		if strings.ContainsRune(word, 0) {
			return fmt.Errorf("sandbox %s: %q has a NUL byte", s.ID, word)
		}
	}
	for _, pair := range s.Env {
		if strings.IndexByte(pair, '=') < 1 {
			return fmt.Errorf("sandbox %s: environment entry is not of the form NAME=value", s.ID)
		}
	}
	for _, m := range s.Mounts {
		if !filepath.IsAbs(m.Source) || !filepath.IsAbs(m.Destination) || filepath.Clean(m.Destination) != m.Destination {
			return fmt.Errorf("sandbox %s: mount %q at %q: both must be clean absolute paths", s.ID, m.Source, m.Destination)
		}
	}
	return nil
}

// words are all the strings that reach the system.
func (s Spec) words() []string {
	words := slices.Concat([]string{s.Hostname, s.Dir, s.Log}, s.Args, s.Env)
	for _, m := range s.Mounts {
		words = append(words, m.Source, m.Destination)
	}
	return words
}
