// Package guest owns the host's side of a guest: it listens for the one guest of
// an agent, knows whether it is there, and turns the words of package proto into
// calls. What happens inside is in package pid1; how bytes get across, in link.
//
// It must not know what runs in the guest, nor trust it: everything that comes
// from there is bounded, and its text is cleaned before it is shown.
package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// SocketName is the name of the link's socket in its directory.
const SocketName = link.SocketName

// Bounds of what a guest may take of the host.
const (
	maxGuestStreams = 512              // opened by the guest and not yet done
	maxGuestRequest = 16 << 10         // bytes of a request
	requestTimeout  = 10 * time.Second // for a guest's stream to say what it wants
	replyTimeout    = 30 * time.Second // for the guest to answer a request
)

// A Service takes connections that the guest opens to it. ServeConn owns the
// connection and closes it.
type Service interface {
	ServeConn(net.Conn)
}

// Options say where a guest calls and what it may reach.
type Options struct {
	Dir      string             // the link's directory, shown to the guest
	Services map[string]Service // by the name that the guest asks for
	Log      *slog.Logger
}

// Info is what a guest told of itself.
type Info struct {
	BootID  string // the same as long as it is the same guest
	Build   string
	Version uint16 // of the protocol
}

// Host is the host's end of the link to one agent's guest. Its methods may be
// called concurrently.
type Host struct {
	listener *link.Listener
	services map[string]Service
	log      *slog.Logger
	streams  chan struct{} // a token for each stream the guest may open

	complaints link.Sometimes // about the guest, in the log

	mu      sync.Mutex // guards what follows
	session *link.Session
	info    Info
	changed chan struct{} // closed and replaced when session changes
}

// ErrNoGuest: no guest is connected.
var ErrNoGuest = errors.New("the sandbox's first process is not connected")

// Listen makes the socket at which the guest calls.
func Listen(opts Options) (*Host, error) {
	versions := link.Versions{Min: proto.MinVersion, Max: proto.Version}
	listener, err := link.Listen(opts.Dir, versions, opts.Log)
	if err != nil {
		return nil, err
	}
	return &Host{
		listener: listener,
		services: opts.Services,
		log:      opts.Log,
		streams:  make(chan struct{}, maxGuestStreams),
		changed:  make(chan struct{}),
	}, nil
}

// Run serves the guest until ctx ends, then closes the link.
func (h *Host) Run(ctx context.Context) error {
	defer h.listener.Close()
	return h.listener.Run(ctx, func(s *link.Session) { h.serve(ctx, s) })
}

// serve sees one session through: the greeting, then the streams that the guest
// opens.
func (h *Host) serve(ctx context.Context, s *link.Session) {
	hello, err := h.greet(ctx, s)
	if err != nil {
		h.complaints.Do(func() { h.log.Warn("a guest did not introduce itself", "session", s.ID(), "err", err) })
		return
	}
	h.set(s, Info{BootID: hello.BootID, Build: Clean(hello.Build), Version: s.Version()})
	defer h.unset(s)
	h.log.Debug("guest connected", "boot", hello.BootID, "build", Clean(hello.Build))
	for {
		stream, err := s.Accept(ctx)
		if errors.Is(err, link.ErrProtocol) {
			h.complaints.Do(func() {
				h.log.Warn("a guest broke the rules of the link; its session was ended", "session", s.ID(), "err", err)
			})
		}
		if err != nil {
			h.log.Debug("guest session ended", "err", err)
			return
		}
		select {
		case h.streams <- struct{}{}:
			go func() {
				defer func() { <-h.streams }()
				h.answer(stream)
			}()
		default:
			go refuse(stream, "busy", "too many streams are open")
		}
	}
}

// greet takes the first stream of a session, on which the guest says who it is.
func (h *Host) greet(ctx context.Context, s *link.Session) (proto.Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := s.Accept(ctx)
	if err != nil {
		return proto.Hello{}, err
	}
	defer stream.Close()
	req, err := readRequest(stream)
	if err != nil {
		return proto.Hello{}, err
	}
	if req.Op != proto.OpHello || req.Hello == nil || !validBoot(req.Hello.BootID) {
		return proto.Hello{}, fmt.Errorf("%w: the first stream is no greeting", link.ErrProtocol)
	}
	return *req.Hello, proto.WriteMessage(stream, proto.Response{})
}

// validBoot: a boot ID is used in logs and compared; it is never a path.
func validBoot(id string) bool { return len(id) >= 8 && len(id) <= 64 && Clean(id) == id }

func (h *Host) set(s *link.Session, info Info) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.session, h.info = s, info
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Host) unset(s *link.Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session != s {
		return
	}
	h.session = nil
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Host) current() (*link.Session, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.session, h.changed
}

// Info is what the last guest told of itself.
func (h *Host) Info() Info {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.info
}

// Connected waits until a guest has introduced itself and has a transport. It
// fails only when ctx ends.
func (h *Host) Connected(ctx context.Context) error {
	_, err := h.await(ctx)
	return err
}

// await returns the session, waiting for one.
func (h *Host) await(ctx context.Context) (*link.Session, error) {
	for {
		s, changed := h.current()
		// A session without transport may be that of a guest that died.
		if s != nil && s.AwaitAttached(ctx) == nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNoGuest, context.Cause(ctx))
		}
	}
}

// answer serves one stream that the guest opened.
func (h *Host) answer(stream *link.Stream) {
	stream.SetDeadline(time.Now().Add(requestTimeout))
	req, err := readRequest(stream)
	if err != nil {
		stream.Close()
		return
	}
	service, ok := h.services[req.Service]
	if req.Op != proto.OpService || !ok {
		refuse(stream, "refused", fmt.Sprintf("the host has no service %q", Clean(req.Service)))
		return
	}
	if err := proto.WriteMessage(stream, proto.Response{}); err != nil {
		stream.Close()
		return
	}
	stream.SetDeadline(time.Time{})
	service.ServeConn(stream)
}

func readRequest(stream *link.Stream) (proto.Request, error) {
	var req proto.Request
	stream.SetReadDeadline(time.Now().Add(requestTimeout))
	if err := proto.ReadMessageLimit(stream, &req, maxGuestRequest); err != nil {
		return req, err
	}
	return req, stream.SetReadDeadline(time.Time{})
}

func refuse(stream *link.Stream, code, message string) {
	defer stream.Close()
	stream.SetDeadline(time.Now().Add(requestTimeout))
	proto.WriteMessage(stream, proto.Response{Error: message, Code: code})
}
