package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
)

// tunnel is a program inside that joins its input and output to the gateway's port.
const tunnel = `const s=require("net").connect(%d,"127.0.0.1");process.stdin.pipe(s);s.pipe(process.stdout);s.on("error",e=>{console.error(e);process.exit(1)})`

// chat says something to the main agent over its gateway's own protocol, and returns
// the answer. It is quicker than a browser. A turn that OpenClaw gave up because its
// configuration changed meanwhile is taken again, as a person would.
func (u *up) chat(t *testing.T, message string) (answer string) {
	t.Helper()
	eventually(t, 5*patience, "the turn is taken", func() bool {
		var err error
		answer, err = u.tryChat(t, message)
		if err != nil && !strings.Contains(err.Error(), "superseded") {
			t.Fatal(err)
		}
		return err == nil
	})
	return answer
}

// tryChat is chat with a gateway that may just take up a new configuration.
func (u *up) tryChat(t *testing.T, message string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	link, err := url.Parse(u.link())
	if err != nil {
		return "", err
	}
	admin := client.New(u.data)
	dial := func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			admin.Exec(ctx, "main", proto.Exec{
				Args: []string{"node", "-e", fmt.Sprintf(tunnel, openclaw.GatewayPort)}, Stdin: true, Timeout: proto.Duration(5 * time.Minute),
			}, far, far, io.Discard)
		}()
		return near, nil
	}
	c, err := gateway.Dial(ctx, dial, link.Query().Get("token"))
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.Chat(ctx, "main", message)
}
