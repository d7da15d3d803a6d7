package aigateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/realtime"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// errStopped ends a session in which the next answer may not be paid, or a message
// holds what must not pass.
type errStopped struct{ why *failure }

func (e errStopped) Error() string { return e.why.msg }

// converse passes a WebSocket on, to a model that is spoken with in realtime. Every
// answer in it is counted when it is complete; before the next one it is asked
// whether that may be paid.
func (c *call) converse(ctx context.Context) error {
	if err := realtime.Handshake(c.r.Header); err != nil {
		return fail(http.StatusBadRequest, err.Error())
	}
	c.ask.stream = true
	if c.ask.model = shown(c.asked.ep.Model); c.ask.model == "" {
		q := c.r.URL.Query()
		c.ask.model = shown(q.Get("model") + q.Get("deployment")) // OpenAI's, or Azure's
	}
	c.model, c.trigger, c.step.Retries = c.ask.model, c.from.Trigger, -1
	if c.g.opts.Guards != nil {
		c.rules = c.g.opts.Guards(c.from.Name)
	}
	if !c.rules.AllowsModel(c.model) {
		return &failure{status: http.StatusBadRequest, kind: "guardrail", msg: "this agent may not use the model " + c.model}
	}
	var err error
	if c.up, err = c.g.resolve(c.to, c.r.URL.RawQuery); err != nil {
		return err
	}
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	if err := c.admit(0); err != nil {
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
	return c.join(ctx, resp)
}

// join puts the client's connection and the provider's together.
func (c *call) join(ctx context.Context, resp *http.Response) error {
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
	c.meter = usage.NewMeter(c.to.ep.Kind, usage.JSON)
	if err := c.accept(client, resp); err != nil {
		client.Close()
		return gone(err)
	}
	stats, err := realtime.Run(ctx, &earlyConn{Conn: client, early: early.Reader}, upstream, realtime.Options{
		Idle: c.g.opts.Timeouts.Idle, Binary: true, Withheld: withheld(c.up.withheld), Up: c.overhear, Down: c.account,
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

// overhear has the guardrails look at a message of the client. It cannot be changed
// in a WebSocket, so what would be blotted out ends the session.
func (c *call) overhear(message []byte) error {
	report := c.rules.Examine(c.subject(guardrail.Request), message)
	c.found(report)
	if report.Blocked || report.Body != nil {
		why := &failure{kind: "guardrail", msg: report.Reason()}
		if why.msg == "" {
			why.msg = "the message holds what must not pass"
		}
		return errStopped{why}
	}
	return nil
}

// account counts an answer of the session that is complete, and asks whether there
// may be another.
func (c *call) account(message []byte) error {
	before := c.meter.Usage().Total()
	c.meter.Message(message)
	used := c.meter.Usage()
	if !used.Known || used.Total() == before {
		return nil
	}
	c.consumed = true
	if c.spend.hold == nil {
		return nil
	}
	cost, known := c.cost(used)
	if known {
		c.spend.hold.Settle(cost-c.spend.paid, used.Total()-c.spend.moved)
	} else {
		c.spend.hold.SettleUnknown(used.Total() - c.spend.moved)
	}
	c.spend.hold, c.spend.paid, c.spend.moved = nil, cost, used.Total()
	c.spend.answers++
	if err := c.reserve(0); err != nil {
		return errStopped{asFailure(err)}
	}
	return nil
}

// answerID tells the answers of one session apart in the ledger.
func (c *call) answerID() string {
	if c.spend.answers == 0 {
		return c.id.String()
	}
	return c.id.String() + "." + strconv.Itoa(c.spend.answers)
}
