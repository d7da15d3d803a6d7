package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// Where things are inside every sandbox.
const (
	guestLink   = "/run/mw"     // the link's socket directory
	guestBinary = "/run/mw-bin" // our own program
)

// guestHostname is every sandbox's name for itself. OpenClaw records it with its
// claim on a home, and takes a claim made under another name for that of another
// machine: it must not change when a home moves to another agent.
const guestHostname = "moltworker"

func guestLog(dir string) string { return filepath.Join(dir, "logs", "guest.log") }

// spec is the sandbox this agent is to run in.
func (a *Agent) spec(rt runtime.Runtime) sandbox.Spec {
	return sandbox.Spec{
		ID:       a.opts.ID,
		Hostname: guestHostname,
		Args: []string{
			guestBinary + "/" + filepath.Base(a.opts.Binary), "guest",
			"--link", guestLink + "/" + guest.SocketName,
			"--forward", strconv.Itoa(openclaw.AIGatewayPort) + "=" + aiService,
		},
		Env: openclaw.Environment(rt, a.opts.TimeZone),
		Dir: openclaw.Home,
		Mounts: []sandbox.Mount{
			{Source: homeDir(a.opts.Dir), Destination: openclaw.Home, Private: true},
			{Source: linkDir(a.opts.Dir), Destination: guestLink, ReadOnly: true},
			{Source: filepath.Dir(a.opts.Binary), Destination: guestBinary, ReadOnly: true},
			{Source: rt.Dir, Destination: openclaw.RuntimeDir, ReadOnly: true, Unchanging: true},
		},
		Limits: a.opts.Limits,
		Log:    guestLog(a.opts.Dir),
	}
}

// binding is what an image of this agent's sandbox is bound to: it is of use to
// this agent only, to the home as the image's sandbox left it, and to what would
// be started now.
func (a *Agent) binding(rt runtime.Runtime) image.Binding {
	b := image.Binding{Agent: a.opts.Name, Generation: a.ledger.read().Generation, Runtime: rt.Version, Spec: kernel(a.spec(rt))}
	if imager, ok := a.opts.Driver.(sandbox.Imager); ok {
		b.Format = imager.ImageFormat()
	}
	return b
}

// kernel digests the part of a spec that is fixed in an image: what differs beyond
// it may differ between two lives.
func kernel(s sandbox.Spec) string {
	s.ID, s.Hostname, s.Log = "", "", ""
	s.Mounts = slices.Clone(s.Mounts)
	for i := range s.Mounts {
		s.Mounts[i].Source = ""
	}
	sum, err := digest(s)
	if err != nil {
		return "" // strings and numbers are always encoded
	}
	return sum
}

// maxGuestLog is the size in bytes from which a new guest.log is begun when a
// sandbox starts; one older file is kept.
const maxGuestLog = 1 << 20

// boundGuestLog sets a log aside that has grown large.
func boundGuestLog(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() < maxGuestLog {
		return nil // it is made when the sandbox starts
	}
	if err := os.Rename(path, path+".1"); err != nil {
		return fmt.Errorf("set the guest's log aside: %w", err)
	}
	return nil
}

// aiService is the name under which the guest asks for the AI gateway.
const aiService = "ai"

// record remembers what a sandbox was started with, so that a later process can
// tell whether a running one is still what it would start.
type record struct {
	Spec string `json:"spec"` // SHA-256 of the spec as JSON
}

func recordPath(dir string) string { return filepath.Join(dir, "sandbox.json") }

func digest(spec sandbox.Spec) (string, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("encode sandbox spec: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

func writeRecord(dir string, spec sandbox.Spec) error {
	if sameRecord(dir, spec) {
		return nil
	}
	sum, err := digest(spec)
	if err != nil {
		return err
	}
	data, err := json.Marshal(record{Spec: sum})
	if err != nil {
		return fmt.Errorf("encode sandbox record: %w", err)
	}
	return atomicfile.Write(recordPath(dir), data, 0o600)
}

func sameRecord(dir string, spec sandbox.Spec) bool {
	var r record
	data, err := os.ReadFile(recordPath(dir))
	if err != nil || json.Unmarshal(data, &r) != nil {
		return false
	}
	sum, err := digest(spec)
	return err == nil && r.Spec == sum
}

// readOptional reads a file that may be missing.
func readOptional(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
