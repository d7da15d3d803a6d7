package link

import (
	"encoding/binary"
	"fmt"
)

// guard stands between yamux and the Conn. On the way out it puts a message's
// head and body, which yamux writes apart, into one frame. On the way in it
// lets through only what this package's own sessions send: yamux alone would
// start a goroutine for every ping of a peer that reads nothing.
type guard struct {
	*Conn
	client  bool
	closing func() // called first when yamux ends the session

	head []byte // outgoing: the head whose body comes next
	in   muxScanner
}

// The parts of a yamux message's head.
const (
	muxHeadSize = 12

	muxData   = 0
	muxUpdate = 1
	muxGoAway = 3

	muxSYN = 1
)

func (g *guard) Write(p []byte) (int, error) {
	if g.head != nil {
		n, err := g.Conn.write(g.head, p)
		n = max(n-len(g.head), 0)
		g.head = nil
		return n, err
	}
	if len(p) == muxHeadSize && p[1] == muxData && binary.BigEndian.Uint32(p[8:]) > 0 {
		g.head = append(make([]byte, 0, muxHeadSize), p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if err != nil {
		return n, err
	}
	if err := g.in.scan(p[:n], !g.client); err != nil {
		g.Conn.fail(err)
		return 0, err
	}
	return n, nil
}

// Close is called by yamux, and by it alone.
func (g *guard) Close() error {
	g.closing()
	return g.Conn.Close()
}

// muxScanner follows a stream of yamux messages, however it is cut.
type muxScanner struct {
	head []byte // of the message that is arriving
	body uint32 // bytes of its body still to come
}

// scan checks the heads in p. Streams that the peer opens have odd IDs if it is
// the client.
func (m *muxScanner) scan(p []byte, peerIsClient bool) error {
	for len(p) > 0 {
		if m.body > 0 {
			n := min(uint32(len(p)), m.body)
			m.body -= n
			p = p[n:]
			continue
		}
		n := min(muxHeadSize-len(m.head), len(p))
		m.head = append(m.head, p[:n]...)
		p = p[n:]
		if len(m.head) < muxHeadSize {
			return nil
		}
		if err := m.check(peerIsClient); err != nil {
			return err
		}
		m.head = m.head[:0]
	}
	return nil
}

func (m *muxScanner) check(peerIsClient bool) error {
	version, kind := m.head[0], m.head[1]
	flags := binary.BigEndian.Uint16(m.head[2:])
	stream := binary.BigEndian.Uint32(m.head[4:])
	length := binary.BigEndian.Uint32(m.head[8:])
	if version != 0 || (kind != muxData && kind != muxUpdate && kind != muxGoAway) {
		return fmt.Errorf("%w: message of version %d, type %d", ErrProtocol, version, kind)
	}
	if flags&muxSYN != 0 && (stream%2 == 1) != peerIsClient {
		return fmt.Errorf("%w: stream %d opened by the wrong end", ErrProtocol, stream)
	}
	if kind == muxData {
		if length > muxWindow {
			return fmt.Errorf("%w: message of %d bytes", ErrProtocol, length)
		}
		m.body = length
	}
	return nil
}
