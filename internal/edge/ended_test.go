package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
)

// endable serves with sign-ins that the test ends; a stream of the control plane goes
// on until then.
func endable(o *Options) (signOut func()) {
	ended, end := context.WithCancelCause(context.Background())
	o.While = func(ctx context.Context, who access.Principal) (context.Context, context.CancelFunc) {
		if who.Kind != access.KindPerson {
			return ctx, func() {}
		}
		ctx, cancel := context.WithCancelCause(ctx)
		stop := context.AfterFunc(ended, func() { cancel(context.Cause(ended)) })
		return ctx, func() { stop(); cancel(nil) }
	}
	o.Plane = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "data: hello\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	return func() { end(access.ErrEnded) }
}

// TestAnEndedSignInClosesItsSockets, also those whose agent sleeps, and nobody else's.
func TestAnEndedSignInClosesItsSockets(t *testing.T) {
	for _, asleep := range []bool{false, true} {
		var signOut func()
		w := serve(t, withPlane, func(o *Options) { signOut = endable(o) })
		ann, _, err := w.dialSocket(t, "/", http.Header{"Cookie": {"moltworker-session=ann"}})
		if err != nil {
			t.Fatal(err)
		}
		hello(t, ann)
		holder, _, err := w.dialSocket(t, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		hello(t, holder)
		if asleep {
			w.main.is(agent.StateAsleep)
		}
		signOut()
		_, _, err = ann.Read(testCtx(t))
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation || !strings.Contains(closed.Reason, "sign in again") {
			t.Errorf("asleep %t: the socket ended with %v", asleep, err)
		}
		<-w.main.ended // the gateway hears of it
		if asleep {
			w.main.is(agent.StateAwake)
		}
		echo(t, holder, "still here")
	}
}

// TestAnEndedSignInCutsItsStreams of the agent and of the control plane.
func TestAnEndedSignInCutsItsStreams(t *testing.T) {
	var signOut func()
	w := serve(t, withPlane, func(o *Options) { signOut = endable(o) })
	body, more := io.Pipe()
	defer more.Close()
	var streams []io.ReadCloser
	for path, body := range map[string]io.Reader{"/stream": body, "/_admin/events?proof=proof-of-ann": nil} {
		method := "GET"
		if body != nil {
			method = "POST"
		}
		r, err := http.NewRequestWithContext(testCtx(t), method, "http://"+w.addr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "localhost"
		r.Header.Set("Cookie", "moltworker-session=ann")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
			t.Fatalf("%s: %s, %q, %v", path, resp.Status, line, err)
		}
		streams = append(streams, resp.Body)
	}
	signOut()
	for _, s := range streams {
		if _, err := io.Copy(io.Discard, s); errors.Is(err, context.DeadlineExceeded) {
			t.Error("a stream went on")
		}
	}
}
