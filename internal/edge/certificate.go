package edge

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a key pair in two files, which are read again when the
// certificate's file changes: renewals need no restart.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards what follows
	pair    *tls.Certificate
	changed time.Time // modification time of the file that pair was read from
}

func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("TLS certificate: %w; name a PEM certificate and its key, both readable", err)
	}
	return c, nil
}

// load reads both files. Callers hold mu or own c alone.
func (c *certificate) load() error {
	info, err := os.Stat(c.certFile)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.changed = &pair, info.ModTime()
	return nil
}

// get returns the current pair. A renewal that cannot be read (half-written, say)
// leaves the old pair in place.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.certFile)
	if err == nil && !info.ModTime().Equal(c.changed) {
		if err := c.load(); err != nil {
			c.log.Warn("the new TLS certificate cannot be read yet; the old one stays in use", "error", err)
		}
	}
	return c.pair, nil
}
