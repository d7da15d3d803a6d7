package pid1

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// answer does what one stream of the host asks for.
func (g *Guest) answer(ctx context.Context, s *link.Session, stream *link.Stream) {
	defer stream.Close()
	var req proto.Request
	stream.SetReadDeadline(time.Now().Add(requestTimeout))
	if err := proto.ReadMessage(stream, &req); err != nil {
		return
	}
	stream.SetReadDeadline(time.Time{})
	// What was asked for ends when the host no longer wants it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer stopOn(cancel, stream.Stopped(), s.Done())()
	if err := g.do(ctx, s, stream, req); err != nil {
		g.log.Debug("a request came to nothing", "op", req.Op, "error", err)
	}
}

// stopOn calls cancel when either channel closes, unless it is released first.
func stopOn(cancel func(), a, b <-chan struct{}) (release func()) {
	released := make(chan struct{})
	go func() {
		select {
		case <-a:
			cancel()
		case <-b:
			cancel()
		case <-released:
		}
	}()
	return func() { close(released) }
}

func (g *Guest) do(ctx context.Context, s *link.Session, stream *link.Stream, req proto.Request) error {
	switch req.Op {
	case proto.OpDial:
		return dial(ctx, stream, req.Port)
	case proto.OpExec:
		return g.exec(stream, s.Done(), req.Exec)
	case proto.OpRead:
		data, err := readFile(req.File)
		resp := response(err)
		resp.Data = data
		return proto.WriteMessage(stream, resp)
	case proto.OpWrite:
		return answer(stream, writeFile(req.File))
	case proto.OpSupervise:
		return answer(stream, g.supervisor.supervise(ctx, req.Supervise))
	case proto.OpRestart:
		return answer(stream, g.supervisor.restart(ctx, time.Duration(req.Grace)))
	case proto.OpStatus:
		now := g.supervisor.supervised()
		return proto.WriteMessage(stream, proto.Response{Supervised: &now})
	case proto.OpEvents:
		return g.events(ctx, stream, req.Since)
	case proto.OpShutdown:
		return g.shutdown(stream, time.Duration(req.Grace))
	}
	return answer(stream, refuse("invalid", "unknown operation %q", req.Op))
}

// answer says how an operation went.
func answer(w io.Writer, err error) error { return proto.WriteMessage(w, response(err)) }

const dialTimeout = 5 * time.Second

// dial joins the stream to a port on the loopback.
func dial(ctx context.Context, stream *link.Stream, port int) error {
	if port < 1 || port > 65535 {
		return answer(stream, refuse("invalid", "no such port: %d", port))
	}
	d := net.Dialer{Timeout: dialTimeout}
	local, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err := answer(stream, err); err != nil {
		if local != nil {
			local.Close()
		}
		return err
	}
	if err != nil {
		return err
	}
	join(stream, local.(*net.TCPConn))
	return nil
}

// events sends what happened after since, and then what happens, until the host
// has had enough.
func (g *Guest) events(ctx context.Context, stream *link.Stream, since uint64) error {
	if err := answer(stream, nil); err != nil {
		return err
	}
	for {
		events, more := g.journal.after(since)
		for _, e := range events {
			if err := proto.WriteMessage(stream, e); err != nil {
				return err
			}
			since = e.Seq
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}

// shutdown ends everything. The host hears of it before the link goes; it is no
// longer asked whether it still wants it.
func (g *Guest) shutdown(stream *link.Stream, grace time.Duration) error {
	defer g.stop()
	err := g.halt(context.Background(), grace)
	if err := answer(stream, err); err != nil {
		return err
	}
	stream.SetReadDeadline(time.Now().Add(time.Second))
	stream.Read(make([]byte, 1)) // until the host has closed the stream
	return nil
}
