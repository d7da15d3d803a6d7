package pid1

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/guest/link"
)

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// halves is a connection whose writing half can be closed by itself.
type halves interface {
	net.Conn
	CloseWrite() error
}

// parting is how long a local program that reads nothing may hold up what the
// host sent before it went.
const parting = 10 * time.Second

// join carries bytes both ways until both ways have ended, and closes both. When
// the host has closed its end, what it wrote before is still delivered, and
// nothing more is taken from the local program.
func join(stream *link.Stream, local halves) {
	defer stream.Close()
	defer local.Close()
	joined := make(chan struct{})
	defer close(joined)
	go func() {
		select {
		case <-stream.Stopped():
			local.SetReadDeadline(time.Unix(1, 0))
			local.SetWriteDeadline(time.Now().Add(parting))
		case <-joined:
		}
	}()
	var up sync.WaitGroup
	up.Go(func() {
		if err := carry(stream, local); err != nil && !stopped(stream) {
			stream.Close()
			local.Close()
		}
	})
	if carry(local, stream) != nil {
		stream.Close()
		local.Close()
	}
	up.Wait()
}

func stopped(stream *link.Stream) bool {
	select {
	case <-stream.Stopped():
		return true
	default:
		return false
	}
}

// carry copies one way and passes the end on.
func carry(to, from halves) error {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	// Without the types behind them: a TCP connection would copy by itself,
	// with a buffer of its own.
	if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf[:]); err != nil {
		return err
	}
	return to.CloseWrite()
}
