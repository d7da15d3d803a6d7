package otel

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
)

// The settings by the names that people know them by; errors name these and hold no
// value, because people paste keys into the wrong setting.
const (
	endpointName = "OTEL_EXPORTER_OTLP_ENDPOINT"
	headersName  = "OTEL_EXPORTER_OTLP_HEADERS"
)

// Bounds of headers.
const (
	maxHeaders     = 32
	maxHeaderBytes = 8 << 10 // of one value
)

// parseEndpoint checks the base URL. Headers that go there are credentials, so what
// is not encrypted must not leave one's own network.
func parseEndpoint(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return nil, fmt.Errorf("%s is not a URL; give one like http://127.0.0.1:4318", endpointName)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return nil, fmt.Errorf("%s must have no user, query or fragment; credentials belong in %s", endpointName, headersName)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isNear(u.Hostname())) {
		return nil, fmt.Errorf("%s must begin with https:// (http:// only for this machine or a private network)", endpointName)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// isNear reports whether a host is of this machine or of a network of one's own: an
// address that says so, a name without a dot, as in a container network, or one below
// a domain that is set aside for this (RFC 6762, RFC 8375, ICANN's .internal).
func isNear(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() || ip.IsPrivate()
	}
	host = strings.ToLower(host)
	for _, domain := range []string{".localhost", ".internal", ".local", ".home.arpa"} {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	// Names that begin with a digit may be addresses in odd forms, such as 0x7f000001.
	return !strings.Contains(host, ".") && 'a' <= host[0] && host[0] <= 'z'
}

// ownHeaders are set here or by the HTTP client, and nobody else's to set.
var ownHeaders = map[string]bool{"Content-Type": true, "Content-Encoding": true, "Content-Length": true,
	"Transfer-Encoding": true, "Host": true, "Connection": true, "Trailer": true, "Te": true, "Upgrade": true, "User-Agent": true}

// parseHeaders checks headers. Errors name a header only where it cannot be a value
// that is in the wrong place.
func parseHeaders(headers map[string]string) (http.Header, error) {
	if len(headers) > maxHeaders {
		return nil, fmt.Errorf("%s has more than %d headers", headersName, maxHeaders)
	}
	h := make(http.Header, len(headers))
	for name, value := range headers {
		if !isToken(name) {
			return nil, errors.New(headersName + " has a name that no header can have; give name=value, separated by commas")
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if ownHeaders[name] {
			return nil, fmt.Errorf("%s must not set %s", headersName, name)
		}
		if !isFieldValue(value) {
			return nil, errors.New(headersName + " has a value that no header can have")
		}
		h[name] = []string{value}
	}
	return h, nil
}

// isToken reports whether s can be the name of a header (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// isFieldValue reports whether s can be the value of a header (RFC 9110, 5.5).
func isFieldValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return len(s) <= maxHeaderBytes
}
