package otel

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Bounds of sending one message.
const (
	maxTries   = 4
	tryTimeout = 10 * time.Second // as the SDK's exporters have it
	firstWait  = time.Second      // doubled for each further try
	maxWait    = 30 * time.Second
	maxAnswer  = 64 << 10 // bytes of an answer that are read
)

// poster sends messages to one collector (OTLP specification 1.9, OTLP/HTTP).
type poster struct {
	client          *http.Client
	traces, metrics string // URLs
	headers         http.Header
	after           func(time.Duration) <-chan time.Time
	closing         <-chan struct{} // once closed, nothing is waited for
}

// newPoster checks where messages go and what goes with them.
func newPoster(endpoint string, headers map[string]string, version string) (*poster, error) {
	base, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	p := &poster{traces: base.JoinPath("v1/traces").String(), metrics: base.JoinPath("v1/metrics").String()}
	if p.headers, err = parseHeaders(headers); err != nil {
		return nil, err
	}
	p.headers.Set("Content-Type", "application/x-protobuf")
	p.headers.Set("Content-Encoding", "gzip")
	p.headers.Set("User-Agent", "moltworker/"+asciiOnly(cmp.Or(version, "unknown")))
	p.client = &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: tryTimeout,
			MaxIdleConns: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxAnswer},
		// Elsewhere the headers would be a stranger's.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// asciiOnly keeps of a version what may be in a User-Agent.
func asciiOnly(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c <= ' ' || c > '~' {
			b[i] = '_'
		}
	}
	return string(b)
}

// end gives connections up.
func (p *poster) end() { p.client.CloseIdleConnections() }

// send sends a message, a few times where the collector says that it may yet take
// it. It returns of how many spans or points the collector says that it would not
// have them. The error holds neither a header nor anything that the collector wrote.
func (p *poster) send(ctx context.Context, to string, m proto.Message) (refused int64, err error) {
	body, err := pack(m)
	if err != nil {
		return 0, err
	}
	for try := 1; ; try++ {
		last := try == maxTries || p.isClosing()
		var again *retryError
		refused, err = p.try(ctx, to, body)
		if !errors.As(err, &again) || last {
			return refused, err
		}
		select {
		case <-p.after(max(backoff(try), min(again.after, maxWait))):
		case <-p.closing: // one last time
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (p *poster) isClosing() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// backoff is the wait after so many tries: between half of and all of 1 s, 2 s, 4 s,
// so that many do not come back at once.
func backoff(try int) time.Duration {
	wait := firstWait << (try - 1)
	return wait/2 + rand.N(wait/2)
}

// pack writes a message in the form that is sent.
func pack(m proto.Message) ([]byte, error) {
	raw, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write message: %w", err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(raw)
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("compress message: %w", err)
	}
	return b.Bytes(), nil
}

// retryError is a failure that may pass.
type retryError struct {
	err   error
	after time.Duration // that the collector asks to be left alone for
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// try sends a body once.
func (p *poster) try(ctx context.Context, to string, body []byte) (refused int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, errors.New("the collector's address cannot be used")
	}
	req.Header = p.headers.Clone()
	res, err := p.client.Do(req)
	if err != nil {
		var outer *url.Error // names the address, which Fail's listener knows
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return 0, &retryError{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case res.StatusCode >= 200 && res.StatusCode <= 299:
		if err != nil {
			return 0, nil // it has the message, whatever it wanted to say about it
		}
		return refusedOf(answer), nil
	case mayPass(res.StatusCode):
		return 0, &retryError{err: statusError(res.StatusCode), after: retryAfter(res.Header.Get("Retry-After"))}
	}
	return 0, statusError(res.StatusCode)
}

func statusError(status int) error { return fmt.Errorf("it answered with status %d", status) }

// mayPass are the statuses after which the same may be sent again; no others may
// (OTLP specification, "Retryable Response Codes").
func mayPass(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter is the wait in a Retry-After header of seconds, at most maxWait; 0 where
// it says none. Dates, which collectors do not write, are not read.
func retryAfter(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxWait)
}

// refusedOf reads from an answer how much was not accepted. In ExportTraceServiceResponse
// and ExportMetricsServiceResponse alike field 1 is partial_success, whose field 1 is
// that number (opentelemetry/proto/collector). What cannot be read says nothing.
func refusedOf(answer []byte) int64 {
	partial, _ := field(answer, protowire.BytesType)
	_, n := field(partial, protowire.VarintType)
	return max(int64(n), 0)
}

// field is the value of the last field 1 of a message, where it has one of that type.
func field(message []byte, want protowire.Type) (bytes []byte, n uint64) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, 0
		}
		message = message[size:]
		size = protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 {
			return nil, 0
		}
		if number == 1 && kind == want {
			if want == protowire.BytesType {
				bytes, _ = protowire.ConsumeBytes(message)
			} else {
				n, _ = protowire.ConsumeVarint(message)
			}
		}
		message = message[size:]
	}
	return bytes, n
}
