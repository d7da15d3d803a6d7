package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// Exec runs a command inside an agent's sandbox and copies its input and output.
// stdin may be nil.
func (c *Client) Exec(ctx context.Context, name string, cmd proto.Exec, stdin io.Reader, stdout, stderr io.Writer) (exit proto.ExecExit, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, "http://moltworker/api/admin/agents/"+url.PathEscape(name)+"/exec",
		&websocket.DialOptions{HTTPClient: c.http})
	if err != nil {
		return exit, dialError(resp, err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	cmd.Stdin = stdin != nil
	request, err := json.Marshal(cmd)
	if err != nil {
		return exit, err
	}
	if err := conn.Write(ctx, websocket.MessageText, request); err != nil {
		return exit, fmt.Errorf("send the command: %w", err)
	}
	if stdin != nil {
		go sendInput(ctx, conn, stdin)
	}
	for {
		kind, msg, err := conn.Read(ctx)
		if err != nil {
			return exit, fmt.Errorf("the connection to moltworker ended before the command did: %w", err)
		}
		if kind == websocket.MessageText {
			err := json.Unmarshal(msg, &exit)
			conn.Close(websocket.StatusNormalClosure, "")
			return exit, err
		}
		if err := writeOutput(msg, stdout, stderr); err != nil {
			return exit, err
		}
	}
}

func writeOutput(msg []byte, stdout, stderr io.Writer) error {
	if len(msg) == 0 {
		return nil
	}
	to := stdout
	if msg[0] == api.ExecStderr {
		to = stderr
	}
	_, err := to.Write(msg[1:])
	return err
}

// sendInput copies stdin until it ends, then says so.
func sendInput(ctx context.Context, conn *websocket.Conn, stdin io.Reader) {
	buf := make([]byte, 1+api.ExecChunk)
	buf[0] = api.ExecStdin
	for {
		n, err := stdin.Read(buf[1:])
		if n > 0 && conn.Write(ctx, websocket.MessageBinary, buf[:1+n]) != nil {
			return
		}
		if err != nil {
			conn.Write(ctx, websocket.MessageBinary, buf[:1])
			return
		}
	}
}

// dialError tells a refusal of ours from a missing server.
func dialError(resp *http.Response, err error) error {
	if resp == nil || resp.Body == nil {
		return notRunning(err)
	}
	var refusal struct {
		Error *admin.Error `json:"error"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&refusal) != nil || refusal.Error == nil {
		return err
	}
	refusal.Error.Status = resp.StatusCode
	return refusal.Error
}
