package edge

import (
	"bufio"
	"errors"
)

const (
	// maxJudged is how much of a message is looked at to tell whether somebody is
	// there.
	maxJudged = 1 << 10
	// maxPassive is how large a message without anybody behind it may be; with its
	// head it must fit into the reader's buffer. Larger ones are a use.
	maxPassive = 16 << 10
)

// upstream is the client's direction of a line. Frames pass as they come, a large
// one in pieces; of text messages the beginning is judged first.
//
// What is no frame that a client may send is not ours to punish: from there on
// bytes pass as they are, each of them a use, and the gateway ends the socket.
type upstream struct {
	line *line
	in   *bufio.Reader
	at   passage
	used func() // gives back the use of the message that is passing, or nil

	message [maxJudged]byte
}

var (
	errLineEnded = errors.New("the line was closed by the edge")
	errKeptFull  = errors.New("a sleeping agent's client sent too much")
)

// run passes on what the client sends until it ends. The error is why.
func (u *upstream) run() error {
	defer u.giveBack()
	if u.line.opaque {
		return u.bytes()
	}
	for {
		head, err := peekHead(u.in)
		if err != nil {
			return errors.Join(err, u.remainder())
		}
		switch {
		case !u.at.admit(head):
			return u.bytes()
		case head.control():
			err = u.control(head)
		case head.opcode() == opContinuation:
			err = u.pass(head)
		default:
			err = u.begin(head)
		}
		if err != nil {
			return err
		}
	}
}

// begin passes the first frame of a message on, or keeps the message.
func (u *upstream) begin(head frameHead) error {
	if passive, err := u.passive(head); err != nil {
		return errors.Join(err, u.remainder())
	} else if passive {
		return u.beginPassive(head)
	}
	var err error
	if u.used, err = u.use(); err != nil {
		return err
	}
	return u.pass(head)
}

// passive judges a message by its beginning.
func (u *upstream) passive(head frameHead) (bool, error) {
	judge := u.line.edge.opts.Passive
	if judge == nil || head.opcode() != opText || !head.fin() || head.length > maxPassive {
		return false, nil
	}
	n := int(min(head.length, maxJudged))
	frame, err := u.in.Peek(head.size + n)
	if err != nil {
		return false, err
	}
	return judge(head.unmask(u.message[:], frame[head.size:])), nil
}

func (u *upstream) beginPassive(head frameHead) error {
	if !u.line.awake.Load() {
		frame, err := u.in.Peek(head.size + int(head.length))
		if err != nil {
			return errors.Join(err, u.remainder())
		}
		switch kept, full := u.line.keep(frame); {
		case full:
			u.line.end(closeTryLater, "too many messages to an agent that sleeps")
			return errKeptFull
		case kept:
			_, err := u.in.Discard(len(frame))
			return err
		}
	}
	return u.pass(head)
}

// use wakes the agent and keeps it awake. When that fails the line is ended.
func (u *upstream) use() (done func(), err error) {
	done, err = u.line.use()
	if err != nil {
		if u.line.ctx.Err() == nil {
			u.line.end(closeTryLater, u.line.whyNot(u.line.v.backend.Status()))
		}
		return nil, errors.Join(errLineEnded, err)
	}
	return done, nil
}

func (u *upstream) giveBack() {
	if u.used != nil {
		u.used()
		u.used = nil
	}
}

// pass writes a frame behind everything that was kept.
func (u *upstream) pass(head frameHead) error {
	if err := u.line.flush(); err != nil {
		return err
	}
	for left := uint64(head.size) + head.length; left > 0; {
		chunk, err := peekChunk(u.in, 1)
		if err != nil {
			return err
		}
		chunk = chunk[:min(uint64(len(chunk)), left)]
		if _, err := u.line.gateway.Write(chunk); err != nil {
			return err
		}
		left -= uint64(len(chunk))
		_, _ = u.in.Discard(len(chunk))
	}
	if !u.at.open {
		u.giveBack()
	}
	return nil
}

// control passes a control frame on, or answers it in place of a gateway that
// sleeps. None of them is a use.
func (u *upstream) control(head frameHead) error {
	if u.line.awake.Load() {
		return u.pass(head)
	}
	frame, err := u.in.Peek(head.size + int(head.length))
	if err != nil {
		return errors.Join(err, u.remainder())
	}
	payload := head.unmask(u.message[:], frame[head.size:])
	switch head.opcode() {
	case opClose:
		if len(payload) < 2 {
			payload = nil // no code, so none to repeat
		}
		u.line.client.close(serverFrame(opClose, payload))
		return errLineEnded
	case opPing:
		u.line.client.insert(serverFrame(opPong, payload))
	case opPong:
		if u.line.owed.Swap(false) { // the gateway asked before it fell asleep
			return u.pass(head)
		}
	}
	_, err = u.in.Discard(len(frame))
	return err
}

// bytes passes everything on that is still to come.
func (u *upstream) bytes() error {
	for {
		chunk, err := peekChunk(u.in, 1)
		if len(chunk) > 0 {
			if err := u.write(chunk); err != nil {
				return err
			}
			_, _ = u.in.Discard(len(chunk))
		}
		if err != nil {
			return err
		}
	}
}

func (u *upstream) write(chunk []byte) error {
	done, err := u.use()
	if err != nil {
		return err
	}
	defer done()
	if err := u.line.flush(); err != nil {
		return err
	}
	_, err = u.line.gateway.Write(chunk)
	return err
}

// remainder passes on what a client that has gone left of a frame, if anybody is
// there to see it.
func (u *upstream) remainder() error {
	rest, _ := u.in.Peek(u.in.Buffered())
	if len(rest) == 0 || !u.line.awake.Load() {
		return nil
	}
	_, err := u.line.gateway.Write(rest)
	return err
}
