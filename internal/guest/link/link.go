// Package link owns the one connection between a guest and its host. It has
// three layers, each usable and tested alone:
//
//   - [Conn]: a byte stream that outlives its transport. When the Unix socket
//     under it is lost, both ends keep what the other has not acknowledged, the
//     guest dials again, and the stream goes on with no byte lost or doubled.
//   - [Session]: many streams over one Conn (yamux), guarded against what a
//     hostile peer may send.
//   - [Dialer] and [Listener]: the guest's and the host's way to sessions.
//
// An idle link runs no timer and sends nothing: an idle sandbox stays idle.
// The package knows nothing of what the streams carry.
package link

import (
	"errors"
	"time"
)

// SocketName is the file name of the host's socket in the link's directory.
const SocketName = "h.sock"

// Sizes and times of the link.
const (
	// Window bounds what one side keeps for replay, in bytes.
	Window = 1 << 20
	// MaxPayload bounds one frame's payload.
	MaxPayload = 64 << 10
	// maxUnsent bounds what waits to be written while a transport is attached,
	// so that a small message never queues behind more than this.
	maxUnsent = 128 << 10
	// ackEvery is how much may be received before it is acknowledged without
	// a frame of data going the other way.
	ackEvery = Window / 4

	handshakeTimeout = 10 * time.Second
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrSessionLost: the other end no longer knows the session, or a new guest
	// took its place. What the streams carried is gone; a new session begins.
	ErrSessionLost = errors.New("link session lost: the other end started afresh")
	// ErrProtocol: the other end broke the link's rules; its session ended.
	ErrProtocol = errors.New("link protocol violated")
	// ErrRefused: the other end understood the handshake and said no.
	ErrRefused = errors.New("link refused")
	// ErrClosed: this end closed the session.
	ErrClosed = errors.New("link session closed")
	// ErrStopped: the other end of a stream closed it and reads no more.
	ErrStopped = errors.New("link stream stopped by the other end")
)
