package edge

import (
	"bufio"
	"errors"
	"io"
)

// Bounds of what is watched. Anything beyond is no refusal that we know, and is
// passed on unread.
const (
	maxWatchedMessage = 64 << 10
	maxWatchedFrames  = 256
)

// frameWatch looks at what the gateway sends over a new WebSocket, until the
// first answer that lets the client in. Answers that refuse it, and the close
// frame after them, are put into our words by explain; everything else passes
// byte for byte.
type frameWatch struct {
	in      *bufio.Reader
	pass    func(frames []byte, p *passage) error
	agent   string
	explain func(code, requestID, agent string) (string, bool)

	at      passage // where in the stream in is
	message []byte  // payload of the message that is being assembled
	held    []byte  // the same with its frame heads, as it came
	between []byte  // control frames among them
	reason  string  // for the close frame, once a refusal has been explained
}

// errNotWatched ends the watching: the stream goes on as it is.
var errNotWatched = errors.New("nothing to watch")

// run passes frames on until nothing is left to watch (then it returns nil, and
// the rest of in is to be passed on from where at says) or the stream ends.
func (f *frameWatch) run() error {
	for range maxWatchedFrames {
		err := f.frame()
		if errors.Is(err, errNotWatched) {
			break
		}
		if err != nil {
			_ = f.release()
			return err
		}
	}
	return f.release()
}

// release sends what was held back.
func (f *frameWatch) release() error {
	held := f.held
	f.held, f.between, f.message = nil, nil, nil
	if len(held) == 0 {
		return nil
	}
	return f.pass(held, &f.at)
}

// frame passes one frame on or holds it as part of a message. A frame that is not
// to be watched stays unread.
func (f *frameWatch) frame() error {
	head, err := peekHead(f.in)
	if err != nil {
		return err
	}
	if !head.plain(false) || head.length > maxWatchedMessage || len(f.held) > maxWatchedMessage {
		return errNotWatched
	}
	if !head.control() && (head.opcode() == opContinuation) != f.at.open {
		return errNotWatched // a sequence that is none
	}
	f.at.admit(head)
	raw := make([]byte, uint64(head.size)+head.length)
	n, err := io.ReadFull(f.in, raw)
	f.at.left -= uint64(max(n-head.size, 0))
	if err != nil {
		f.held = append(f.held, raw[:n]...)
		return err
	}
	if head.control() {
		return f.control(head, raw)
	}
	return f.data(head, raw)
}

// control passes a control frame on. One that stands between the fragments of a
// message keeps its place among them.
func (f *frameWatch) control(head frameHead, raw []byte) error {
	if head.opcode() == opClose {
		if payload := raw[head.size:]; f.reason != "" && len(payload) >= 2 {
			raw = serverFrame(opClose, append(payload[:2:2], f.reason...))
		}
		f.held = append(f.held, raw...)
		return errNotWatched
	}
	between := len(f.held) > 0
	f.held = append(f.held, raw...)
	if between {
		f.between = append(f.between, raw...)
		return nil
	}
	return f.release()
}

// data adds a frame to the message being assembled, and judges the message once
// it is whole.
func (f *frameWatch) data(head frameHead, raw []byte) error {
	f.held = append(f.held, raw...)
	f.message = append(f.message, raw[head.size:]...)
	if head.opcode() != opText && head.opcode() != opContinuation {
		return errNotWatched // binary
	}
	if !head.fin() {
		return nil
	}
	v := judge(f.message)
	if v.refusal != nil {
		if text, ok := f.rewrite(v.refusal); ok {
			f.held = append(f.between, serverFrame(opText, text)...)
		}
	}
	if v.over {
		return errNotWatched
	}
	return f.release()
}
