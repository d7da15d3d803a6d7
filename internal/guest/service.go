package guest

import (
	"net"
	"sync"
)

// ServiceListener hands the connections of a service to a server that wants a
// net.Listener, such as an http.Server.
type ServiceListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewServiceListener returns a listener without connections.
func NewServiceListener() *ServiceListener {
	return &ServiceListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// ServeConn hands conn to Accept. It returns when the server has closed conn, so
// that the guest's share of streams is counted right.
func (l *ServiceListener) ServeConn(conn net.Conn) {
	tracked := &trackedConn{Conn: conn, closed: make(chan struct{})}
	select {
	case l.conns <- tracked:
		<-tracked.closed
	case <-l.done:
		conn.Close()
	}
}

// Accept waits for the next connection.
func (l *ServiceListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and refuses what comes later.
func (l *ServiceListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is a name for logs.
func (l *ServiceListener) Addr() net.Addr { return guestAddr{} }

type guestAddr struct{}

func (guestAddr) Network() string { return "link" }
func (guestAddr) String() string  { return "guest" }

// trackedConn tells when it is closed.
type trackedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
