package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// Close codes of our own (RFC 6455, 7.4, and the registry that goes with it).
const (
	closePolicy   = 1008
	closeRestart  = 1012 // what the socket led to is gone; another one will do
	closeTryLater = 1013
)

// Bounds of what is kept for a gateway that sleeps, per WebSocket. OpenClaw's page
// comes nowhere near them: each of its pollers waits for its answer before it
// asks again, so a tab leaves two or three messages however long the sleep is. A
// client that sends more is no such page. Dropping messages would leave it waiting
// for answers that never come, so its socket is closed instead: every client
// understands that.
const (
	maxKeptBytes    = 64 << 10
	maxKeptMessages = 256
)

// A line is a WebSocket that was let through, for its life. The agent may fall
// asleep and wake in the meantime: the gateway's end of the line is then a
// connection that nobody reads, and goes on where it was after the wake.
//
// While the agent is awake everything passes as it comes. What else there is to
// do hangs on where frames begin and end, so both directions are followed:
//
//   - A client's message that says somebody is there (all but those that
//     Options.Passive knows) is a use of the agent: it wakes it, and keeps it
//     awake until the message is written.
//   - The rest of an unattended tab's messages are kept while the agent is not
//     awake, and written before the next message that passes.
//   - What the client has to hear in the meantime is said by the line: pongs, the
//     answer to a close, and Options.Tick, without which OpenClaw's page takes a
//     silent line for a dead one.
type line struct {
	edge    *Edge
	v       visit
	client  clientEnd
	gateway *stallGuard
	opaque  bool // an extension gives the frames another meaning: every byte is a use, nothing is added

	ctx    context.Context // ends with the gateway's end
	cancel context.CancelFunc

	awake atomic.Bool // the agent, as far as it is known
	slept bool        // the gateway's end has been through a sleep; belongs to follow
	owed  atomic.Bool // the gateway sent a ping that no pong has answered yet

	mu        sync.Mutex // guards what follows, and the order of what is kept and what is not
	kept      []byte     // messages for the gateway, as they came
	keptCount int
}

func (e *Edge) newLine(v visit, client, gateway net.Conn) *line {
	l := &line{
		edge: e, v: v,
		client:  clientEnd{conn: &stallGuard{Conn: client, limit: e.opts.Limits.Stall}, since: time.Now(), between: true, whole: true},
		gateway: &stallGuard{Conn: gateway, limit: e.opts.Limits.Stall},
	}
	l.ctx, l.cancel = context.WithCancel(e.stopping)
	l.awake.Store(true) // the handshake has just worked
	return l
}

// run carries the WebSocket until both directions have ended.
func (l *line) run(fromClient, fromGateway *bufio.Reader) {
	defer l.cancel()
	var following sync.WaitGroup
	following.Go(l.follow)
	done := make(chan struct{}, 2)
	go func() {
		(&upstream{line: l, in: bufio.NewReaderSize(fromClient, copyBufferSize), at: passage{fromClient: true}}).run()
		l.closeUpstream()
		done <- struct{}{}
	}()
	go func() {
		_ = l.down(fromGateway)
		l.cancel()
		closeWrite(l.client.conn)
		done <- struct{}{}
	}()
	<-done
	// What the other direction still holds may arrive (a close frame, the last
	// answer), but nobody waits long for it.
	patience := time.AfterFunc(l.edge.opts.Limits.Drain, l.cut)
	<-done
	patience.Stop()
	l.cancel()
	l.cut()
	following.Wait()
}

func (l *line) cut() {
	l.client.conn.Close()
	l.gateway.Close()
}

// closeUpstream tells the gateway that its client says no more. A gateway that
// sleeps has nothing to answer, and closing by halves may wait until it wakes.
func (l *line) closeUpstream() {
	if l.awake.Load() {
		closeWrite(l.gateway)
		return
	}
	l.gateway.Close()
}

// down passes on what the gateway sends until it ends.
func (l *line) down(in *bufio.Reader) error {
	var at passage
	if l.opaque {
		at.lost = true
	} else {
		watch := frameWatch{in: in, pass: l.passDown, agent: l.v.agent, explain: l.explain}
		err := watch.run()
		at = watch.at
		if err != nil {
			at.lost = true // what is left is the beginning of something
			rest, _ := in.Peek(in.Buffered())
			return errors.Join(err, l.passDown(rest, &at))
		}
	}
	return carry(in, &at, l.passDown)
}

// explain puts a refusal into our words, and tells of it.
func (l *line) explain(code, requestID, agent string) (string, bool) {
	l.edge.opts.Refused(l.v.who, agent, code, requestID)
	return l.edge.opts.Explain(code, requestID, agent)
}

// carry passes all of in on, chunk by chunk as it comes.
func carry(in *bufio.Reader, at *passage, pass func([]byte, *passage) error) error {
	for missing := 1; ; {
		chunk, err := peekChunk(in, missing)
		if err != nil {
			at.lost = true // a head that is cut off stays so
		}
		n := at.walk(chunk)
		if n > 0 {
			if err := pass(chunk[:n], at); err != nil {
				return err
			}
			_, _ = in.Discard(n)
		}
		if err != nil {
			return err
		}
		missing = len(chunk) - n + 1
	}
}

func (l *line) passDown(chunk []byte, at *passage) error {
	if at.pinged {
		at.pinged = false
		l.owed.Store(true)
	}
	return l.client.pass(chunk, at)
}

// follow keeps up with the agent's state, and says ticks while it sleeps.
func (l *line) follow() {
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	changes := l.v.backend.Watch(l.ctx)
	for {
		select {
		case s, open := <-changes:
			if !open {
				return
			}
			l.changed(s)
		case <-quiet.C:
			l.tick()
		case <-l.ctx.Done():
			return
		}
		if l.awake.Load() || l.opaque || l.edge.opts.Tick == nil {
			quiet.Stop()
		} else {
			quiet.Reset(max(l.edge.opts.Limits.Tick-l.client.silence(), time.Millisecond))
		}
	}
}

// changed takes note of the agent's state.
func (l *line) changed(s agent.Status) {
	switch s.State {
	case agent.StateAwake:
		l.slept = false
		l.awake.Store(true)
		l.gateway.resume()
		if err := l.flush(); err != nil {
			l.cut()
		}
	case agent.StateSuspending, agent.StateAsleep, agent.StateWaking:
		l.slept = true
		l.awake.Store(false)
		l.gateway.pause() // it takes nothing, and that is as it should be
	case agent.StateBooting:
		if l.slept { // another gateway: nothing of this line lives in it
			l.end(closeRestart, "agent "+l.v.agent+" is starting anew: connect again")
		}
	default:
		if l.slept {
			l.end(closeTryLater, l.whyNot(s))
		}
	}
	// Without a sleep before it, the gateway's own connection says when it ends.
}

func (l *line) whyNot(s agent.Status) string {
	switch s.State {
	case agent.StateFailed, agent.StateStopped:
		return fmt.Sprintf("agent %s is %s: %s", l.v.agent, s.State, firstOf(s.Error, s.Reason, "see `moltworker agent ls`"))
	}
	return fmt.Sprintf("agent %s did not wake in time: try again", l.v.agent)
}

// end closes the line with words for the client.
func (l *line) end(code uint16, reason string) {
	l.client.close(closeFrame(code, closeReason(reason, "", "")))
	l.gateway.Close()
}

// tick says Options.Tick to a client that has heard nothing for a while.
func (l *line) tick() {
	message := l.edge.opts.Tick(l.edge.opts.Now())
	if len(message) > 0 && l.client.silence() >= l.edge.opts.Limits.Tick {
		l.client.insertMessage(serverFrame(opText, message))
	}
}

// use is Backend.Use, bounded.
func (l *line) use() (done func(), err error) {
	wait := &patience{parent: l.ctx, limit: l.edge.opts.Limits.WaitCall}
	defer wait.over()
	return l.v.backend.Use(wait, "a message")
}

// keep keeps a client's message for later, unless the agent is awake. full says
// that there is no room for it.
func (l *line) keep(frame []byte) (kept, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.awake.Load():
		return false, false
	case len(l.kept)+len(frame) > maxKeptBytes, l.keptCount >= maxKeptMessages:
		return false, true
	}
	l.kept = append(l.kept, frame...)
	l.keptCount++
	return true, false
}

// flush writes what was kept. What passes afterwards is behind it.
func (l *line) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == 0 {
		return nil
	}
	frames := l.kept
	l.kept, l.keptCount = nil, 0
	_, err := l.gateway.Write(frames)
	return err
}
