package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// An exec is a WebSocket. The client's first message is text: a proto.Exec.
// Then binary messages both ways, whose first byte says what the rest is; the
// server's last message is text: a proto.ExecExit.
const (
	ExecStdin  = 0 // client; no bytes after the first means end of input
	ExecStdout = 1
	ExecStderr = 2
)

// ExecChunk bounds one message's payload.
const ExecChunk = 32 << 10

func (a *routes) exec(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("agent")
	if err := a.MayExec(r.Context(), name); err != nil {
		return err
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()

	var cmd proto.Exec
	if err := readJSON(ctx, conn, &cmd); err != nil {
		return closeExec(conn, fmt.Errorf("read the request: %w", err))
	}
	input, inputEnd := io.Pipe()
	defer input.Close()
	go feedStdin(ctx, cancel, conn, inputEnd)
	go a.knock(ctx, cancel, conn)
	exit, err := a.Exec(ctx, name, cmd, input,
		messageWriter{ctx, conn, ExecStdout}, messageWriter{ctx, conn, ExecStderr})
	if err != nil {
		return closeExec(conn, err)
	}
	if body, err := json.Marshal(exit); err == nil {
		conn.Write(ctx, websocket.MessageText, body)
	}
	conn.Close(websocket.StatusNormalClosure, "")
	return nil
}

// closeExec ends an exec that has no exit status, saying why.
func closeExec(conn *websocket.Conn, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	e := admin.AsError(err)
	message := e.Message
	if e.Remedy != "" {
		message += "; " + e.Remedy
	}
	body, _ := json.Marshal(proto.ExecExit{Code: -1, Error: message})
	conn.Write(ctx, websocket.MessageText, body)
	conn.Close(websocket.StatusInternalError, "")
	return nil
}

// feedStdin copies the client's messages to the command. A client that is gone
// cancels it.
func feedStdin(ctx context.Context, cancel context.CancelFunc, conn *websocket.Conn, w *io.PipeWriter) {
	defer w.Close()
	for {
		_, msg, err := conn.Read(ctx)
		if err != nil {
			cancel()
			return
		}
		if len(msg) == 0 || msg[0] != ExecStdin {
			continue
		}
		if len(msg) == 1 {
			w.Close()
			continue
		}
		w.Write(msg[1:]) // fails when the command no longer reads; it may still write
	}
}

// knock cancels the command of a client that is gone. feedStdin cannot notice
// that while a command does not read what it is given.
func (a *routes) knock(ctx context.Context, cancel context.CancelFunc, conn *websocket.Conn) {
	tick := time.NewTicker(a.knockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if conn.Write(ctx, websocket.MessageBinary, []byte{ExecStdout}) != nil { // output of no bytes
			cancel()
			return
		}
	}
}

// messageWriter sends what is written as binary messages of one kind.
type messageWriter struct {
	ctx  context.Context
	conn *websocket.Conn
	kind byte
}

func (m messageWriter) Write(p []byte) (int, error) {
	for off := 0; off < len(p); off += ExecChunk {
		chunk := p[off:min(off+ExecChunk, len(p))]
		if err := m.conn.Write(m.ctx, websocket.MessageBinary, append([]byte{m.kind}, chunk...)); err != nil {
			return off, err
		}
	}
	return len(p), nil
}

func readJSON(ctx context.Context, conn *websocket.Conn, v any) error {
	kind, msg, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	if kind != websocket.MessageText {
		return fmt.Errorf("expected a text message")
	}
	return json.Unmarshal(msg, v)
}
