// Package s3 owns the object store in a bucket of an S3 service: Amazon's,
// Cloudflare's R2, or any other that keeps to the protocol, conditional writes
// (If-None-Match) included. blob.Check tells whether one does.
//
// The five requests that the contract needs are made here; minio-go signs them.
// It must not know what the objects mean, and believes no answer: sizes, times
// and lists are bounded and checked. Trying again is blob/retry's work.
package s3

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// Options say where the bucket is, and whose it is.
type Options struct {
	Endpoint  string // "https://HOST[:PORT]"; http:// is not encrypted
	Region    string // "us-east-1" when empty, which many services take for any
	Bucket    string // exists already
	Prefix    string // a valid object name, in front of all ours in the bucket; or ""
	PathStyle bool   // ENDPOINT/BUCKET/NAME rather than BUCKET.ENDPOINT/NAME

	AccessKey    string
	SecretKey    secret.Value
	SessionToken secret.Value // of temporary credentials; usually unset

	// HTTP makes the requests; a client of its own when nil. Redirects and cookies
	// are never followed.
	HTTP *http.Client
	// Patience is how long a request may make no progress; two minutes when 0. What
	// the system has taken over to send counts as sent, so it must not be short.
	Patience time.Duration
}

const (
	defaultRegion   = "us-east-1"
	defaultPatience = 2 * time.Minute
)

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
)

// Store is an object store in a bucket.
type Store struct {
	opts     Options
	endpoint *url.URL // of the bucket, its path ends in "/"
	prefix   string   // in front of names, "" or ends in "/"
	http     *http.Client
}

var _ blob.Store = (*Store)(nil)

// New returns the store that the options describe. It makes no request; an error
// is about the options and has a remedy.
func New(opts Options) (*Store, error) {
	fail := func(err error, how string) (*Store, error) {
		return nil, remedy.With(fmt.Errorf("object storage: %w", err), how)
	}
	if opts.Region == "" {
		opts.Region = defaultRegion
	}
	if opts.Patience == 0 {
		opts.Patience = defaultPatience
	}
	u, err := parseEndpoint(opts.Endpoint)
	if err != nil {
		return fail(err, `give the endpoint as "https://HOST", without bucket and path`)
	}
	if !bucketName.MatchString(opts.Bucket) {
		return fail(fmt.Errorf("%q is not the name of a bucket", opts.Bucket), "name a bucket that exists, without the endpoint; 3 to 63 characters of a-z, 0-9, . and -")
	}
	if !regionName.MatchString(opts.Region) {
		return fail(fmt.Errorf("%q is not the name of a region", opts.Region), `give the region as the provider does; it is "auto" for R2`)
	}
	if opts.AccessKey == "" || !opts.SecretKey.IsSet() {
		return fail(errors.New("there is no access key, or no secret key for it"), "give both, of a key that may read and write objects of the bucket")
	}
	s := &Store{opts: opts, endpoint: bucketURL(u, opts.Bucket, opts.PathStyle), http: client(opts.HTTP)}
	if opts.Prefix != "" {
		if err := blob.ValidateName(opts.Prefix); err != nil {
			return fail(fmt.Errorf("prefix: %w", err), `choose a prefix such as "backups/host-1", or none`)
		}
		s.prefix = opts.Prefix + "/"
	}
	return s, nil
}

// String says where the store is.
func (s *Store) String() string {
	return strings.TrimSuffix("s3://"+s.opts.Bucket+"/"+s.prefix, "/") + " at " + s.host()
}

// host is the endpoint's, for people.
func (s *Store) host() string {
	u, err := parseEndpoint(s.opts.Endpoint)
	if err != nil {
		return s.endpoint.Host
	}
	return u.Host
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the endpoint is not an address that begins with https:// or http://")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return nil, errors.New("the endpoint has more in it than a host")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// bucketURL is where a bucket's objects are. A bucket cannot stand in front of an
// address that is no name, and one with dots would not match a certificate.
func bucketURL(u *url.URL, bucket string, pathStyle bool) *url.URL {
	host := u.Hostname()
	if pathStyle || net.ParseIP(host) != nil || host == "localhost" || strings.Contains(bucket, ".") {
		return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + bucket + "/"}
	}
	return &url.URL{Scheme: u.Scheme, Host: bucket + "." + u.Host, Path: "/"}
}

// client is a copy of c that follows nothing: a request's signature, and with it
// the right to its result, is for one host.
func client(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{Transport: transport()}
	}
	own := *c
	own.Jar = nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// transport differs from Go's own in its bounds. It trusts the system's
// certificates and knows no variable of S3 tools.
func transport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    15 * time.Second,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		WriteBufferSize:        64 << 10,
		ReadBufferSize:         64 << 10,
	}
}
