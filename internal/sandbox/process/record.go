package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// place is where one sandbox is kept on the host.
type place struct{ dir string }

func (p place) root() string   { return filepath.Join(p.dir, "rootfs") }
func (p place) etc() string    { return filepath.Join(p.root(), "etc") }
func (p place) args() string   { return filepath.Join(p.dir, "args") }
func (p place) status() string { return filepath.Join(p.dir, "status") }

// record says which host processes a sandbox is.
type record struct {
	Boot    string // of the machine: process numbers mean nothing after another
	Monitor process
	Init    process // the guest's PID 1
}

// process is one process of the host, told from another that got its number
// later by when it started.
type process struct {
	PID   int
	Start uint64
}

func identify(pid int) (process, error) {
	stat, err := hostproc.ReadStat(pid)
	if err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return process{PID: pid, Start: stat.Start}, nil
}

func (p process) alive() bool { return p.PID > 0 && p.is(p.PID) }

// is says whether pid is p and has not ended.
func (p process) is(pid int) bool {
	stat, err := hostproc.ReadStat(pid)
	return err == nil && pid == p.PID && stat.Start == p.Start && stat.State != 'Z'
}

func bootID() string {
	content, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(content))
}

func (p place) writeRecord(r record) error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the sandbox's record: %w", err)
	}
	temp := filepath.Join(p.dir, "record.new")
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return fmt.Errorf("write the sandbox's record: %w", err)
	}
	return os.Rename(temp, filepath.Join(p.dir, "record"))
}

func (p place) record() (record, error) {
	var r record
	content, err := os.ReadFile(filepath.Join(p.dir, "record"))
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil {
		return record{}, fmt.Errorf("read the sandbox's record: %w", err)
	}
	if r.Boot != bootID() {
		return record{}, fmt.Errorf("the sandbox's record is from before the machine was started")
	}
	return r, nil
}

// status is what bubblewrap said so far.
type status struct {
	child int
	exit  *int
}

func (p place) readStatus() (status, error) {
	content, err := os.ReadFile(p.status())
	if err != nil {
		return status{}, err
	}
	return parseStatus(content), nil
}

// parseStatus reads bubblewrap's JSON objects, one to a line; the last may be
// half written.
func parseStatus(content []byte) status {
	var s status
	for line := range bytes.Lines(content) {
		var said struct {
			Child int  `json:"child-pid"`
			Exit  *int `json:"exit-code"`
		}
		if json.Unmarshal(line, &said) != nil {
			continue
		}
		if said.Child > 0 {
			s.child = said.Child
		}
		if said.Exit != nil {
			s.exit = said.Exit
		}
	}
	return s
}

// result turns bubblewrap's exit code into the contract's words. Like a shell,
// it says 128+n for signal n.
func (s status) result() sandbox.Exit {
	switch {
	case s.exit == nil:
		return sandbox.Exit{}
	case *s.exit > 128 && *s.exit <= 128+64:
		return sandbox.Exit{Known: true, Signal: syscall.Signal(*s.exit - 128)}
	default:
		return sandbox.Exit{Known: true, Code: *s.exit}
	}
}
