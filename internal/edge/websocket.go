package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// isUpgrade says whether a request asks for a WebSocket. Over HTTP/2 that takes
// an extended CONNECT (RFC 8441), which the standard server does not offer;
// browsers then open a second connection with HTTP/1.1 by themselves.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ProtoMajor == 1 &&
		strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && hasToken(r.Header["Connection"], "upgrade")
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// socket joins a client's WebSocket to the gateway's. It calls used after the
// handshake; what keeps the agent awake from then on is line's to say.
func (e *Edge) socket(w http.ResponseWriter, r *http.Request, v visit, used func()) {
	if r.ContentLength != 0 {
		answer(w, r, problem{status: http.StatusBadRequest, kind: "bad_request", title: "Not a WebSocket",
			message: "A WebSocket request has no body.", remedy: "Leave it out."})
		return
	}
	release, ok := e.sockets.acquire(v.agent)
	if !ok {
		answer(w, r, problem{status: http.StatusServiceUnavailable, kind: "too_many_connections", title: "Too many connections",
			message: fmt.Sprintf("Agent %s has %d WebSockets open already.", v.agent, e.sockets.size),
			remedy:  "Close some of the pages that show it.", retryAfter: 5 * time.Second})
		return
	}
	defer release()
	gateway, err := e.dial(r.Context(), v.backend)
	if err != nil {
		e.gatewayFailed(w, r, v, fmt.Errorf("dial gateway: %w", err))
		return
	}
	defer gateway.Close()
	resp, in, err := e.handshake(r, v, gateway)
	if err != nil {
		e.gatewayFailed(w, r, v, fmt.Errorf("WebSocket handshake with the gateway: %w", err))
		return
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		e.passRefusal(w, r, v, resp)
		return
	}
	used()
	e.join(r.Context(), w, resp, gateway, in, v)
}

const handshakeTimeout = 30 * time.Second

// hopHeaders are about one connection, not about the request.
var hopHeaders = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// handshake sends the client's upgrade request on and reads the answer. in is
// what the gateway sends afterwards.
func (e *Edge) handshake(r *http.Request, v visit, gateway net.Conn) (*http.Response, *bufio.Reader, error) {
	defer context.AfterFunc(r.Context(), func() { gateway.Close() })()
	if err := gateway.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, nil, err
	}
	out := r.Clone(r.Context())
	e.outgoing(out, v)
	for _, name := range hopHeaders {
		out.Header.Del(name)
	}
	out.Header["Connection"], out.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // none, rather than Go's
	}
	if err := out.Write(gateway); err != nil {
		return nil, nil, err
	}
	head := &io.LimitedReader{R: gateway, N: maxResponseHeader}
	in := bufio.NewReaderSize(head, copyBufferSize)
	resp, err := http.ReadResponse(in, out)
	if err != nil {
		return nil, nil, err
	}
	head.N = math.MaxInt64
	switched := resp.StatusCode == http.StatusSwitchingProtocols
	if resp.StatusCode < http.StatusOK && !switched || switched && !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		return nil, nil, fmt.Errorf("the gateway answered %q, which is no WebSocket", resp.Status)
	}
	return resp, in, nil
}

const maxRefusedBody = 64 << 10

// passRefusal hands the gateway's own answer on when it did not open a
// WebSocket.
func (e *Edge) passRefusal(w http.ResponseWriter, r *http.Request, v visit, resp *http.Response) {
	if resp.StatusCode == http.StatusForbidden && e.misattributed(resp) {
		e.gatewayFailed(w, r, v, errMisattributed)
		return
	}
	access.StripSetCookie(resp.Header)
	for _, name := range append(hopHeaders, "Content-Length") {
		resp.Header.Del(name)
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(resp.Body, maxRefusedBody))
}

// join takes the client's connection over and carries the WebSocket until either
// end is done, or its caller's sign-in.
func (e *Edge) join(ctx context.Context, w http.ResponseWriter, resp *http.Response, gateway net.Conn, in *bufio.Reader, v visit) {
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Errorf("take over the connection: %w", err))
	}
	defer client.Close()
	if rec, ok := w.(*recorder); ok {
		rec.status = http.StatusSwitchingProtocols
	}
	defer context.AfterFunc(e.stopping, func() { client.Close(); gateway.Close() })()
	l := e.newLine(v, client, gateway)
	// Extensions give frames another meaning. OpenClaw agrees to none.
	l.opaque = resp.Header.Get("Sec-Websocket-Extensions") != ""
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), access.ErrEnded) {
			l.end(closePolicy, "your sign-in has ended: sign in again at /_admin/")
		}
	})()
	if gateway.SetDeadline(time.Time{}) != nil || writeUpgrade(l.client.conn, resp) != nil {
		return
	}
	l.run(buffered.Reader, in)
}

// writeUpgrade repeats the gateway's 101 to the client.
func writeUpgrade(w io.Writer, resp *http.Response) error {
	access.StripSetCookie(resp.Header)
	var head strings.Builder
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := resp.Header.Write(&head); err != nil {
		return err
	}
	_, err := io.WriteString(w, head.String()+"\r\n")
	return err
}
