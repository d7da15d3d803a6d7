package s3

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// unreachable is about a request that got no answer, or none that can be used.
func (s *Store) unreachable(err error) error {
	var wrapper *url.Error
	if errors.As(err, &wrapper) {
		err = wrapper.Err // the rest is where, which the caller says
	}
	how, class := s.failure(err)
	return remedy.With(fmt.Errorf("%w: %w", class, err), how)
}

// failure says what mends a failure, and of which class it is.
func (s *Store) failure(err error) (how string, class error) {
	host := s.endpoint.Host
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		name        *net.DNSError
	)
	switch {
	case errors.Is(err, errNonsense):
		return "check the endpoint: something else than an S3 service may answer at " + host, blob.ErrUnavailable
	case errors.As(err, &certificate):
		return "correct the endpoint, or add the authority that signed " + host + "'s certificate to those that this machine trusts", blob.ErrDenied
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "begin the endpoint with http:// if the service has no certificate", blob.ErrDenied
	case errors.As(err, &name) && name.IsNotFound:
		return "correct the endpoint, or check that this machine can look names up", blob.ErrUnavailable
	case errors.Is(err, syscall.ECONNREFUSED):
		return "check that a service runs at " + host, blob.ErrUnavailable
	}
	return "check the connection to " + host, blob.ErrUnavailable
}
