package pid1

import (
	"context"
	"net"
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

const (
	// maxForwarded bounds the connections of one forward; more wait.
	maxForwarded = 240
	// forwardTimeout is how long a connection waits for the link and the host.
	forwardTimeout = 10 * time.Second
)

// forward carries connections to one loopback port to a service of the host.
func (g *Guest) forward(ctx context.Context, ln net.Listener, service string) {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	slots := make(chan struct{}, maxForwarded)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		local, err := ln.Accept()
		if err != nil {
			<-slots
			if ctx.Err() != nil {
				return
			}
			g.complaints.Do(func() { g.log.Warn("cannot accept; trying on", "service", service, "error", err) })
			pause(ctx, 100*time.Millisecond)
			continue
		}
		go func() {
			defer func() { <-slots }()
			g.carry(ctx, local.(*net.TCPConn), service)
		}()
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// carry takes one connection to the host.
func (g *Guest) carry(ctx context.Context, local *net.TCPConn, service string) {
	reach, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	session, err := g.await(reach)
	if err != nil {
		local.Close()
		return
	}
	stream, err := session.OpenStream(reach)
	if err != nil {
		local.Close()
		return
	}
	stream.SetDeadline(time.Now().Add(forwardTimeout))
	if err := ask(stream, proto.Request{Op: proto.OpService, Service: service}); err != nil {
		g.complaints.Do(func() { g.log.Warn("the host did not take a connection", "service", service, "error", err) })
		stream.Close()
		local.Close()
		return
	}
	stream.SetDeadline(time.Time{})
	cancel()
	join(stream, local)
}
