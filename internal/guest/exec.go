package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// execGrace is how long the guest may take, after a command's time is up, to
// kill it and say so; then the host gives up by itself.
const execGrace = 10 * time.Second

// Exec runs a command in the guest. stdin may be nil. The command's time is
// bounded on both sides; when ctx ends the command is killed.
func (h *Host) Exec(ctx context.Context, cmd proto.Exec, stdin io.Reader, stdout, stderr io.Writer) (proto.ExecExit, error) {
	if cmd.Timeout == 0 {
		cmd.Timeout = proto.Duration(proto.DefaultExecTimeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(cmd.Timeout)+execGrace,
		errors.New("the sandbox did not end the command when its time was up"))
	defer cancel()
	cmd.Stdin = stdin != nil && cmd.Stdin
	stream, _, err := h.open(ctx, proto.Request{Op: proto.OpExec, Exec: &cmd}, replyTimeout)
	if err != nil {
		return proto.ExecExit{}, fmt.Errorf("exec: %w", err)
	}
	// Closing the stream tells the guest to kill what still runs.
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.SetDeadline(time.Unix(1, 0)) })()
	if cmd.Stdin {
		go sendInput(stream, stdin)
	}
	exit, err := receiveOutput(stream, stdout, stderr)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return exit, fmt.Errorf("exec: %w", err)
	}
	return exit, nil
}

// sendInput copies stdin to the command until either ends.
func sendInput(stream *link.Stream, stdin io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := stdin.Read(buf)
		if n > 0 && proto.WriteFrame(stream, proto.FrameStdin, buf[:n]) != nil {
			return
		}
		if err != nil {
			proto.WriteFrame(stream, proto.FrameStdinEnd, nil)
			return
		}
	}
}

// receiveOutput copies what the command writes until its exit.
func receiveOutput(stream *link.Stream, stdout, stderr io.Writer) (exit proto.ExecExit, err error) {
	buf := make([]byte, proto.MaxFrame)
	for {
		kind, payload, err := proto.ReadFrame(stream, buf)
		if err != nil {
			return exit, eof(err)
		}
		switch kind {
		case proto.FrameStdout:
			_, err = stdout.Write(payload)
		case proto.FrameStderr:
			_, err = stderr.Write(payload)
		case proto.FrameExit:
			if err := json.Unmarshal(payload, &exit); err != nil {
				return exit, &noAnswer{fmt.Errorf("%w: exit status: %w", link.ErrProtocol, err)}
			}
			exit.Error = Clean(exit.Error)
			return exit, nil
		default:
			err = fmt.Errorf("%w: frame of kind %d", link.ErrProtocol, kind)
		}
		if err != nil {
			return exit, err
		}
	}
}
