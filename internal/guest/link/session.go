package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// Session is one life of a link: many streams over a Conn. It ends when either
// end forgets it, and all its streams with it.
//
// The first stream of every session is its control stream. On it an end names
// the streams that it has closed entirely, so that the other end stops sending
// on them at once: yamux by itself can only say that it sends no more.
type Session struct {
	conn    *Conn
	client  bool // this end is the guest
	mux     *yamux.Session
	control *Stream
	opening chan struct{} // bounds the streams being opened
	done    chan struct{} // closed when err is set
	err     error

	controlMu sync.Mutex // serialises writes to control

	mu        sync.Mutex // guards what follows
	streams   map[uint32]*Stream
	stopped   map[uint32]bool // named on control before they were accepted
	accepted  uint32          // the highest stream ID accepted
	lingering int             // streams closed here and not there
	ended     bool            // no stream may wait for yamux any more
}

const (
	// muxWindow is how much one stream may have in flight.
	muxWindow  = 256 << 10
	muxBacklog = 256
	maxOpening = muxBacklog * 3 / 4
	// maxLingering bounds the streams that the other end does not close after
	// this end has.
	maxLingering = 1024
	// forever: a link without transport is asleep, not broken.
	forever = 10 * 365 * 24 * time.Hour
)

func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = muxBacklog
	c.EnableKeepAlive = false
	c.MaxStreamWindowSize = muxWindow
	c.ConnectionWriteTimeout = forever
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 0
	c.LogOutput = io.Discard // why a session ended is in its error
	return c
}

// serveConn makes a session of a fresh stream and serves it to its end.
func serveConn(c *Conn, client bool, log *slog.Logger, serve func(*Session)) {
	s, err := newSession(c, client)
	if err != nil {
		log.Debug("link: session ended before it began", "session", c.id, "error", err)
		return
	}
	defer s.Close()
	serve(s)
}

// newSession starts a session's streams. On the host it waits for the guest's
// control stream.
func newSession(c *Conn, client bool) (*Session, error) {
	s := &Session{
		conn:    c,
		client:  client,
		opening: make(chan struct{}, maxOpening),
		done:    make(chan struct{}),
		streams: map[uint32]*Stream{},
		stopped: map[uint32]bool{},
	}
	control, err := s.start()
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("start link session: %w", err)
	}
	s.control = s.adopt(control)
	go s.watch()
	go s.readControl()
	return s, nil
}

func (s *Session) start() (control *yamux.Stream, err error) {
	g := &guard{Conn: s.conn, client: s.client, closing: s.release}
	if s.client {
		if s.mux, err = yamux.Client(g, muxConfig()); err != nil {
			return nil, err
		}
		return s.mux.OpenStream()
	}
	if s.mux, err = yamux.Server(g, muxConfig()); err != nil {
		return nil, err
	}
	return s.mux.AcceptStream()
}

// release wakes all that wait on streams when yamux has begun to end the
// session. Left to yamux they would spin until it had got round to each.
func (s *Session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, st := range s.streams {
		st.release()
	}
}

// watch waits for the session's end and finds out why.
func (s *Session) watch() {
	<-s.mux.CloseChan()
	<-s.conn.done
	s.err = s.conn.Err()
	if errors.Is(s.err, ErrClosed) {
		s.err = s.muxErr()
	}
	close(s.done)
}

// muxErr says why yamux ended the session: what it found wrong, or that it was
// told to.
func (s *Session) muxErr() error {
	for {
		_, err := s.mux.AcceptStream()
		if errors.Is(err, yamux.ErrSessionShutdown) || errors.Is(err, ErrClosed) {
			return ErrClosed
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
	}
}

// Version is the protocol version that the two ends settled on.
func (s *Session) Version() uint16 { return s.conn.version }

// ID names the session in logs.
func (s *Session) ID() SessionID { return s.conn.id }

// Attached says whether the session has a transport now. Without one it keeps
// what is sent until the guest is back.
func (s *Session) Attached() bool { return s.conn.Attached() }

// AwaitAttached waits until the session has a transport. It fails when the
// session has ended or ctx ends.
func (s *Session) AwaitAttached(ctx context.Context) error { return s.conn.awaitAttached(ctx) }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session ended. It waits for that end.
func (s *Session) Err() error {
	<-s.done
	return s.err
}

// Close ends the session and its streams.
func (s *Session) Close() error {
	s.conn.fail(ErrClosed)
	return s.mux.Close()
}

// fail ends the session because of what the other end did.
func (s *Session) fail(err error) { s.conn.fail(err) }

// OpenStream opens a stream. It does not wait for the other end to accept it.
func (s *Session) OpenStream(ctx context.Context) (*Stream, error) {
	select {
	case s.opening <- struct{}{}:
	case <-s.done:
		return nil, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	opened := make(chan *yamux.Stream, 1)
	go func() {
		defer func() { <-s.opening }()
		m, err := s.mux.OpenStream()
		if err != nil {
			s.fail(fmt.Errorf("%w: open stream: %w", ErrProtocol, err))
		}
		opened <- m
	}()
	select {
	case m := <-opened:
		if m == nil {
			return nil, s.Err()
		}
		return s.adopt(m), nil
	case <-ctx.Done():
		go s.abandon(opened)
		return nil, ctx.Err()
	}
}

// abandon closes a stream that was opened too late to be wanted.
func (s *Session) abandon(opened <-chan *yamux.Stream) {
	if m := <-opened; m != nil {
		s.adopt(m).Close()
	}
}

// Accept waits for a stream that the other end opens.
func (s *Session) Accept(ctx context.Context) (*Stream, error) {
	m, err := s.mux.AcceptStreamWithContext(ctx)
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, s.Err()
	}
	return s.adopt(m), nil
}

func (s *Session) adopt(m *yamux.Stream) *Stream {
	st := &Stream{mux: m, session: s, stopped: make(chan struct{})}
	id := m.StreamID()
	s.mu.Lock()
	s.streams[id] = st
	early, late := s.stopped[id], s.ended
	delete(s.stopped, id)
	if s.theirs(id) {
		s.accepted = max(s.accepted, id)
	}
	s.mu.Unlock()
	if early {
		st.stop()
	}
	if late {
		st.release()
	}
	return st
}

// theirs says whether the other end opened a stream: the guest's have odd IDs.
func (s *Session) theirs(id uint32) bool { return (id%2 == 1) != s.client }

// readControl learns which streams the other end has closed.
func (s *Session) readControl() {
	var id [4]byte
	for {
		if _, err := io.ReadFull(s.control, id[:]); err != nil {
			if !s.mux.IsClosed() {
				s.fail(fmt.Errorf("%w: control stream ended", ErrProtocol))
			}
			return
		}
		s.peerClosed(binary.BigEndian.Uint32(id[:]))
	}
}

func (s *Session) peerClosed(id uint32) {
	s.mu.Lock()
	st := s.streams[id]
	if st == nil && s.theirs(id) && id > s.accepted && len(s.stopped) < muxBacklog {
		s.stopped[id] = true
	}
	s.mu.Unlock()
	if st != nil {
		st.stop()
	}
}

// sayClosed tells the other end that this one has closed a stream.
func (s *Session) sayClosed(id uint32) {
	s.controlMu.Lock()
	defer s.controlMu.Unlock()
	s.control.Write(binary.BigEndian.AppendUint32(nil, id))
}

// linger counts a stream closed here and not there.
func (s *Session) linger(n int) {
	s.mu.Lock()
	s.lingering += n
	tooMany := s.lingering > maxLingering
	s.mu.Unlock()
	if tooMany {
		s.fail(fmt.Errorf("%w: more than %d streams left half closed", ErrProtocol, maxLingering))
	}
}

func (s *Session) forget(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, id)
}
