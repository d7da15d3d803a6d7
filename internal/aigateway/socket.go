package aigateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/realtime"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// errStopped ends a session in which the next answer may not be paid, or a message
// holds what must not pass.
type errStopped struct{ why *failure }

func (e errStopped) Error() string { return e.why.msg }

// maxSockets is how many WebSockets one caller may have open at once. Idle ones hold
// two connections each, and nothing else.
const maxSockets = 16

// converse passes a WebSocket on, to a model that is spoken with in realtime. Every
// answer in it is asked for before it is given, and counted as it ends: see session.
func (c *call) converse(ctx context.Context) error {
	if err := realtime.Handshake(c.r.Header); err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	open := &c.load.sockets
	defer open.Add(-1)
	if open.Add(1) > maxSockets {
		return &failure{status: http.StatusTooManyRequests, retryAfter: "5", kind: "busy", msg: "this agent has too many WebSockets open; close one"}
	}
	c.trigger, c.step.Retries, c.ask.stream = c.from.Trigger, -1, true
	if err := c.meet(); err != nil {
		return err
	}
	var err error
	if c.up, err = c.g.resolve(c.to, c.r.URL.RawQuery); err != nil {
		return err
	}
	if custom, err := price.ParseCustom(c.wish.cost); c.wish.cost != "" {
		if err != nil {
			return fail(http.StatusBadRequest, err.Error())
		}
		c.spend.custom = &custom
	}
	s := c.newSession(ctx)
	c.spend.rates, c.spend.priced = s.model.rates, s.model.priced
	if err := s.mayBegin(); err != nil {
		return err
	}
	resp, err := c.send(ctx, &body{load: c.load, buf: new([]byte)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		if resp.StatusCode >= 400 {
			return c.relayError(resp)
		}
		return fail(http.StatusBadGateway, fmt.Sprintf("%s answered %d to a WebSocket", c.up.url.Host, resp.StatusCode))
	}
	return c.join(ctx, s, resp)
}

// meet finds the model that is to be spoken with, and whether the caller may.
func (c *call) meet() (err error) {
	if c.ask.model, err = socketModel(c.to, c.r.URL.RawQuery); err != nil {
		return err
	}
	c.model = c.ask.model
	if c.g.opts.Guards != nil {
		c.rules = c.g.opts.Guards(c.from.Name)
	}
	named := c.model != "" || c.to.ep.Kind != usage.Gemini // whose first message names it
	if named && !c.rules.AllowsModel(c.model) {
		return c.forbidden()
	}
	return nil
}

// socketModel is the model that a WebSocket is opened to: in its path, or in the
// parameter of its query that the provider reads. What another reader could take for a
// model must not be there too.
func socketModel(to target, rawQuery string) (string, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return "", fail(http.StatusBadRequest, "the query of this path cannot be read")
	}
	key := "model" // OpenAI's and xAI's
	if to.name == "azure-openai" {
		key = "deployment"
	}
	given := 0
	for k, values := range q {
		if strings.EqualFold(k, "model") || strings.EqualFold(k, "deployment") {
			given += len(values)
			if k != key {
				return "", fail(http.StatusBadRequest, fmt.Sprintf("the query names the model as %q; %s reads %q only", shown(k), to.name, key))
			}
		}
	}
	name := to.ep.Model
	switch {
	case given > 1, given == 1 && name != "":
		return "", fail(http.StatusBadRequest, "the request names its model more than once")
	case given == 1:
		name = q.Get(key)
	}
	if len(name) > maxModelName {
		return "", fail(http.StatusBadRequest, "the name of the model is too long")
	}
	return shown(name), nil
}

// join puts the client's connection and the provider's together.
func (c *call) join(ctx context.Context, s *session, resp *http.Response) error {
	upstream, ok := resp.Body.(io.ReadWriteCloser)
	if err := realtime.CheckAnswer(resp, c.r.Header.Get("Sec-Websocket-Key")); err != nil || !ok {
		return &failure{status: http.StatusBadGateway, cause: err, msg: c.up.url.Host + " did not open the WebSocket as it should"}
	}
	c.rec.first, c.rec.status = c.since(), resp.StatusCode
	client, early, err := c.rc.Hijack()
	if err != nil {
		return &failure{status: http.StatusInternalServerError, cause: err, msg: "this connection cannot become a WebSocket"}
	}
	c.watch.stop() // a session keeps its own time
	_ = client.SetDeadline(time.Time{})
	c.stream, c.hijacked = true, true
	if err := c.accept(client, resp); err != nil {
		client.Close()
		return gone(err)
	}
	c.talk = s
	defer s.end()
	var stop context.CancelFunc
	s.ctx, stop = context.WithCancel(ctx)
	defer stop()
	stats, err := realtime.Run(ctx, &earlyConn{Conn: client, early: early.Reader}, upstream, realtime.Options{
		Idle: c.g.opts.Timeouts.Idle, Binary: true, Withheld: withheld(c.up.withheld), Stopped: stop,
		Strict: c.rules.LooksAt(guardrail.Request), Up: s.guarded(s.overhear), Down: s.guarded(s.account),
	})
	c.rec.in, c.rec.out = stats.UpBytes, stats.DownBytes
	if stats.Unseen > 0 {
		c.note(fmt.Sprintf("%d messages were too long to be looked at", stats.Unseen))
	}
	c.rec.refused = endOf(err)
	return nil
}

// endOf says why a session ended that no side closed; nil where one did.
func endOf(err error) *failure {
	var stopped errStopped
	var side *realtime.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stopped):
		return stopped.why
	case errors.As(err, &side) && side.Client:
		return &failure{kind: errClientGone.kind, cause: err}
	}
	return &failure{kind: "broken", cause: err}
}

// accept answers the client's handshake with the provider's answer to it.
func (c *call) accept(client net.Conn, resp *http.Response) error {
	h := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Cf-Aig-Log-Id": {c.id.String()},
		"Sec-Websocket-Accept": {realtime.Accept(c.r.Header.Get("Sec-Websocket-Key"))}}
	if v := resp.Header.Get("Sec-Websocket-Protocol"); v != "" {
		h.Set("Sec-Websocket-Protocol", v)
	}
	w := bufio.NewWriter(client)
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", resp.StatusCode, http.StatusText(resp.StatusCode))
	if err := h.Write(w); err != nil {
		return err
	}
	_, _ = w.WriteString("\r\n") // Flush tells
	return w.Flush()
}

// earlyConn is a connection of which something was read already.
type earlyConn struct {
	net.Conn
	early *bufio.Reader
}

func (e *earlyConn) Read(p []byte) (int, error) {
	if e.early != nil {
		if n := e.early.Buffered(); n > 0 {
			return e.early.Read(p[:min(len(p), n)])
		}
		e.early = nil
	}
	return e.Conn.Read(p)
}

func withheld(keys []string) (all [][]byte) {
	for _, key := range keys {
		if len(key) >= minGuarded {
			all = append(all, []byte(key))
		}
	}
	return all
}
