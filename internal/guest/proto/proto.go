// Package proto owns the words that host and guest exchange over the link: the
// operations, their requests and answers, and the version of all of it. Both
// ends import it; it imports neither, does no I/O beyond one message, and knows
// nothing of OpenClaw.
//
// Every link stream begins with one message, a request, from the side that
// opened it: four bytes of big-endian length, then that much JSON (at most
// [MaxMessage]). The answer has the same form. What follows depends on the
// operation:
//
//	hello     guest -> host  the first stream of a session: who the guest is
//	dial      host -> guest  connect to a TCP port on the guest's loopback; after an OK answer, raw bytes
//	service   guest -> host  reach a named host service (e.g. "ai"); after an OK answer, raw bytes
//	exec      host -> guest  run a command; after an OK answer, exec frames both ways
//	read      host -> guest  read one file, whole
//	write     host -> guest  replace one file atomically
//	supervise host -> guest  set what PID 1 keeps running, and start it
//	status    host -> guest  what is supervised, and how it is
//	restart   host -> guest  restart what is supervised
//	events    host -> guest  after an OK answer, a sequence of Event messages until either side closes
//	shutdown  host -> guest  stop the supervised process in order, then exit
package proto

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Version is the protocol spoken by this build; MinVersion the oldest it still
// understands. The two ends settle on the highest version both understand.
const (
	MinVersion = 1
	Version    = 1
)

// MaxMessage bounds one JSON message on the wire, in bytes.
const MaxMessage = 2 << 20

// Op names an operation.
type Op string

// The operations of protocol version 1.
const (
	OpHello     Op = "hello"
	OpStatus    Op = "status"
	OpDial      Op = "dial"
	OpService   Op = "service"
	OpExec      Op = "exec"
	OpRead      Op = "read"
	OpWrite     Op = "write"
	OpSupervise Op = "supervise"
	OpRestart   Op = "restart"
	OpEvents    Op = "events"
	OpShutdown  Op = "shutdown"
)

// Request opens a stream. Only the fields of its operation are set.
type Request struct {
	Op        Op       `json:"op"`
	Hello     *Hello   `json:"hello,omitempty"`   // hello
	Port      int      `json:"port,omitempty"`    // dial
	Service   string   `json:"service,omitempty"` // service
	Exec      *Exec    `json:"exec,omitempty"`
	File      *File    `json:"file,omitempty"`      // read, write
	Supervise *Process `json:"supervise,omitempty"` // supervise
	Since     uint64   `json:"since,omitempty"`     // events: send those with Seq > Since
	Grace     Duration `json:"grace,omitempty"`     // restart, shutdown: time between SIGTERM and SIGKILL
}

// Response answers a Request. Error is empty on success.
type Response struct {
	Error string `json:"error,omitempty"`
	// Code tells errors apart for programs: "not_found", "refused" (nothing
	// listens on the port), "invalid", "too_large", "busy", "failed".
	Code       string      `json:"code,omitempty"`
	Data       []byte      `json:"data,omitempty"`       // read
	Supervised *Supervised `json:"supervised,omitempty"` // status
}

// Hello is how a guest introduces itself in every session.
type Hello struct {
	// BootID is drawn at random when PID 1 starts: a guest that comes back with
	// the same one is the same, with all it supervises; another one is new.
	BootID string `json:"boot_id"`
	Build  string `json:"build,omitempty"` // of the program, for logs
}

// Supervised is what PID 1 keeps running now. Process is nil before the first
// supervise request.
type Supervised struct {
	Process *Process `json:"process,omitempty"`
	Status  Status   `json:"status"`
	LastSeq uint64   `json:"last_seq"` // of the newest event
}

// Exec asks for one command.
type Exec struct {
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"` // added to the guest's own
	Dir  string   `json:"dir,omitempty"`
	// Timeout is hard: when it passes, the whole process group is killed.
	// Zero means DefaultExecTimeout; more than MaxExecTimeout is refused.
	Timeout Duration `json:"timeout,omitempty"`
	Stdin   bool     `json:"stdin,omitempty"` // false: stdin is /dev/null
}

// Bounds of an exec request.
const (
	DefaultExecTimeout = 2 * time.Minute
	MaxExecTimeout     = 24 * time.Hour
)

// ExecExit is the last frame of an exec stream.
type ExecExit struct {
	Code     int    `json:"code"`             // exit code, or -1 when ended by a signal
	Signal   int    `json:"signal,omitempty"` // number of the signal that ended it
	TimedOut bool   `json:"timed_out,omitempty"`
	Error    string `json:"error,omitempty"` // could not be started
}

// File is a file inside, absolute. On read, Max bounds the size; a missing file
// is Code "not_found". On write, Data replaces the content atomically; missing
// parent directories are made with mode 0700.
type File struct {
	Path string `json:"path"`
	Max  int64  `json:"max,omitempty"`
	Mode uint32 `json:"mode,omitempty"`
	Data []byte `json:"data,omitempty"`
}

// Process is what PID 1 keeps running. To supervise what is supervised already
// changes nothing, unless it has failed or waits for a retry: then it is started
// at once. To supervise something else first ends what runs.
type Process struct {
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"` // whole environment
	Dir  string   `json:"dir,omitempty"`
	// Ready is asked with GET until it answers 200 with a JSON body: then the
	// process is ready. Live is asked first; it only marks a boot phase.
	Ready Probe `json:"ready"`
	Live  Probe `json:"live"`
	// BootTimeout bounds one boot; a boot that takes longer is killed and
	// retried. Zero means 5 minutes.
	BootTimeout Duration `json:"boot_timeout,omitempty"`
	// FatalCodes are exit codes of a process that thinks that a retry cannot mend
	// it (a bad configuration). When two runs in a row end so, it is left stopped,
	// in PhaseFailed, until the next restart or supervise request. One is not
	// believed: it may come of what an earlier process, killed just before, has
	// left behind.
	FatalCodes []int `json:"fatal_codes,omitempty"`
}

// Same says whether two processes are supervised alike.
func (p *Process) Same(q Process) bool {
	if p == nil {
		return false
	}
	mine, err1 := json.Marshal(p)
	theirs, err2 := json.Marshal(q)
	return err1 == nil && err2 == nil && bytes.Equal(mine, theirs)
}

// Probe is an HTTP check on the guest's loopback. Without a port there is none:
// a process without a ready probe is ready when it has started.
type Probe struct {
	Port int    `json:"port"`
	Path string `json:"path"`
}

// Phase is where the supervised process is in its life.
type Phase string

// The phases, in the order of a good boot, then the bad ends.
const (
	PhaseIdle     Phase = "idle"     // nothing to supervise yet
	PhaseStarting Phase = "starting" // process made, nothing heard of it yet
	PhaseLive     Phase = "live"     // the live probe answered
	PhaseReady    Phase = "ready"    // the ready probe answered
	PhaseStopping Phase = "stopping" // asked to end
	PhaseBackoff  Phase = "backoff"  // ended unasked; started again at RetryAt
	PhaseFailed   Phase = "failed"   // ended with a fatal code twice; needs a restart
)

// Event is one thing that happened inside. Exactly one of Log and Status is set.
// Seq grows by one from 1 for each guest; a gap means that old events were
// dropped from the guest's bounded memory.
type Event struct {
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time"`
	Log    *LogLine  `json:"log,omitempty"`
	Status *Status   `json:"status,omitempty"`
}

// MaxLogLine bounds one line of a log, in bytes; the rest of a longer one is cut.
const MaxLogLine = 16 << 10

// LogLine is a line of the supervised process, at most MaxLogLine of it.
type LogLine struct {
	Stream string `json:"stream"` // "stdout", "stderr", or "guest" for PID 1's own words
	Text   string `json:"text"`
}

// Status is the supervised process's state after a change.
type Status struct {
	Phase    Phase     `json:"phase"`
	PID      int       `json:"pid,omitempty"`
	Attempt  int       `json:"attempt"`             // boots tried since the last ready, from 1
	Restarts int       `json:"restarts"`            // unasked ends since supervise
	Started  time.Time `json:"started,omitzero"`    // of this boot
	RetryAt  time.Time `json:"retry_at,omitzero"`   // PhaseBackoff
	LastExit string    `json:"last_exit,omitempty"` // how the previous run ended, and its last line of stderr
}

// Duration is a time.Duration that travels as a Go duration string ("1m30s").
type Duration time.Duration

// MarshalJSON writes the Go notation.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads the Go notation.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// ErrTooLarge: the other side announced a message over MaxMessage.
var ErrTooLarge = errors.New("link message too large")

// WriteMessage writes v as one message.
func WriteMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode link message: %w", err)
	}
	if len(body) > MaxMessage {
		return ErrTooLarge
	}
	buf := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	_, err = w.Write(append(buf, body...))
	return err
}

// ReadMessage reads one message into v. It reads nothing beyond the message.
func ReadMessage(r io.Reader, v any) error { return ReadMessageLimit(r, v, MaxMessage) }

// ReadMessageLimit is ReadMessage for messages of at most limit bytes. Memory
// is taken as the bytes arrive, not as they are announced.
func ReadMessageLimit(r io.Reader, v any, limit uint32) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > limit {
		return ErrTooLarge
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read link message: %w", err)
	}
	if err := json.Unmarshal(body.Bytes(), v); err != nil {
		return fmt.Errorf("decode link message: %w", err)
	}
	return nil
}
