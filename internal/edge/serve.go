package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"
)

// Serve answers requests on all listeners until ctx ends, then lets requests
// under way finish within Limits.Shutdown. WebSockets and event streams, which
// never finish, end at once. It closes the listeners, and may be called once.
func (e *Edge) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer e.stop()
	srv, err := e.server()
	if err != nil {
		return err
	}
	places := make(chan struct{}, e.opts.Limits.Connections)
	var group errgroup.Group
	for _, l := range listeners {
		limited := &limitListener{Listener: l, places: places, closed: make(chan struct{})}
		group.Go(func() error {
			defer limited.Close()
			if srv.TLSConfig != nil {
				return srv.ServeTLS(limited, "", "")
			}
			return srv.Serve(limited)
		})
	}
	ended := make(chan struct{})
	defer close(ended)
	finished := make(chan error, 1)
	go func() { finished <- e.finish(ctx, srv, ended) }()
	err = group.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		srv.Close()
		return fmt.Errorf("serve: %w", err)
	}
	return <-finished
}

// finish shuts the server down when ctx ends. A server that failed by itself has
// ended already.
func (e *Edge) finish(ctx context.Context, srv *http.Server, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	e.stop()
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.Limits.Shutdown)
	defer cancel()
	if err := srv.Shutdown(bound); err != nil {
		e.opts.Log.Warn("requests were cut short by the shutdown", "error", err)
		return srv.Close()
	}
	return nil
}

// server is our http.Server. Whole requests and answers have no time limit
// (uploads, streams); what a client could hold for ever without them is bounded
// by the header's time limit, the idle time and the number of connections.
func (e *Edge) server() (*http.Server, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // for fronts that speak h2c
	srv := &http.Server{
		Handler:           e,
		Protocols:         protocols,
		MaxHeaderBytes:    e.opts.Limits.HeaderBytes,
		ReadHeaderTimeout: e.opts.Limits.ReadHeader,
		IdleTimeout:       e.opts.Limits.Idle,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 128},
		ErrorLog:          slog.NewLogLogger(e.opts.Log.Handler(), slog.LevelDebug),
	}
	if e.opts.CertFile == "" && e.opts.KeyFile == "" {
		return srv, nil
	}
	cert, err := loadCertificate(e.opts.CertFile, e.opts.KeyFile, e.opts.Log)
	if err != nil {
		return nil, err
	}
	srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get}
	return srv, nil
}
