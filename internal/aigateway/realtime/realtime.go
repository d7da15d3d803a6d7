// Package realtime owns the two directions of a WebSocket between a client and a
// model's realtime API (OpenAI, Azure, Gemini Live): bytes are passed on as they
// come, unchanged, and read on the way as frames (RFC 6455), so that messages can be
// looked at, refused and counted, and so that a secret does not reach the client.
//
// It must not know what a message means or costs, who the client is or which server
// was chosen: that is for the functions in Options. It imports nothing of the module.
package realtime

import (
	"context"
	"errors"
	"io"
	"time"
)

// Options of a session.
type Options struct {
	// Idle ends a session in which no byte was passed in either direction for so
	// long, or in which one write takes so long. 5 minutes when 0.
	Idle time.Duration
	// MaxFrame is the longest payload of a frame, in bytes; a longer one ends the
	// session. No frame is ever held whole. 32 MiB when 0.
	MaxFrame int64
	// MaxMessage is the longest message that Up and Down are given, in bytes. Longer
	// ones pass, and Stats.Unseen counts them. 4 MiB when 0.
	MaxMessage int
	// Strict ends the session at a message of the client that is too long for Up.
	Strict bool
	// Binary gives Up and Down binary messages too. Gemini Live puts its JSON into
	// those; without it they pass, and nothing counts them.
	Binary bool
	// Up is called with each complete text message of the client, before its last
	// byte is passed on. After an error the upstream never gets the rest of it.
	// Up and Down may keep the message only until they return, may be called at the
	// same time (but neither twice), and hold their direction up until they return.
	Up func(message []byte) error
	// Down is called with each complete text message of the upstream, after it was
	// passed on.
	//
	// An error of Up or Down ends the session. The first 123 bytes of its text are
	// the reason in the client's close frame, so it must be fit to be read there.
	Down func(message []byte) error
	// Stopped is called once, if at all, when nothing more will be passed: Run is about
	// to return but for an Up or Down that has not. It must return at once.
	Stopped func()
	// Withheld must never be in a message to the client, however its bytes are cut
	// into frames. Only what may be a beginning is held back until more comes. Those
	// shorter than 16 bytes are too likely in an honest message and not looked for;
	// of those longer than 4096 the first 4096 bytes are.
	Withheld [][]byte
}

const (
	defaultIdle       = 5 * time.Minute
	defaultMaxFrame   = 32 << 20
	defaultMaxMessage = 4 << 20
)

func (o Options) withDefaults() Options {
	if o.Idle <= 0 {
		o.Idle = defaultIdle
	}
	if o.MaxFrame <= 0 {
		o.MaxFrame = defaultMaxFrame
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = defaultMaxMessage
	}
	return o
}

// Stats is what a session passed on: up is towards the model. Close frames that are
// the session's own are not counted.
type Stats struct {
	UpBytes, DownBytes   int64 // of whole frames and of begun ones, with their heads
	UpFrames, DownFrames int64 // that ended
	Unseen               int64 // messages that Up or Down should have had but were too long
}

// Why a session ended; Run's errors wrap them.
var (
	ErrIdle     = errors.New("nothing was passed on for too long")
	ErrProtocol = errors.New("the WebSocket protocol was broken")
	ErrTooLong  = errors.New("a frame is too long")
	ErrWithheld = errors.New("a message has in it what is withheld")
	ErrGone     = errors.New("the connection ended without a close frame")
)

// Error is what one side did to end a session.
type Error struct {
	Client bool // the client did it; else the upstream
	Err    error
}

func (e *Error) Error() string {
	if e.Client {
		return "the client: " + e.Err.Error()
	}
	return "the upstream: " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Run carries a WebSocket, both handshakes of which are done, until both directions
// have ended, one has failed, nothing is passed any more, or ctx has ended. Then it
// sends a close frame to each side that is between frames, waits for the answers, all
// of that for 5 seconds at most, and closes both connections. When one direction has
// ended, the other has 5 seconds too. Nothing is left running when it returns.
//
// A client's connection is a net.Conn, or something that first yields what was
// already read of it; an upstream's is the body of its 101 answer. Close must end
// their pending reads and writes.
//
// The error is nil when a side ended the session by a close frame. It is an *Error
// when a side broke it off, broke its rules, or sent what Up or Down refused;
// ErrIdle; or context.Cause(ctx), the text of which is the close frames' reason
// unless it is ctx's own error.
func Run(ctx context.Context, client, upstream io.ReadWriteCloser, o Options) (Stats, error) {
	s := newSession(client, upstream, o.withDefaults())
	go s.up.run()
	go s.down.run()
	s.supervise(ctx)
	s.part()
	<-s.up.done
	<-s.down.done
	return Stats{
		UpBytes: s.up.bytes, DownBytes: s.down.bytes,
		UpFrames: s.up.count, DownFrames: s.down.count,
		Unseen: s.up.message.unseen + s.down.message.unseen,
	}, s.err
}
