package s3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/blobtest"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/test/s3server"
)

// TestStore runs the contract's suite against a real server, in the environment
// of somebody who uses other S3 tools.
func TestStore(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_CA_BUNDLE": "/nowhere", "AWS_ACCESS_KEY_ID": "another", "AWS_SECRET_ACCESS_KEY": "another",
		"AWS_SESSION_TOKEN": "another", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "nowhere-1",
	} {
		t.Setenv(name, value)
	}
	opts := server(t)
	blobtest.Run(t, func(t *testing.T) blob.Store {
		opts := opts
		opts.Bucket = s3server.Bucket(t, opts.Endpoint, opts.AccessKey, opts.SecretKey.Reveal())
		return open(t, opts)
	})
}

// TestPrefix puts a store between objects of others.
func TestPrefix(t *testing.T) {
	opts := server(t)
	opts.Bucket = s3server.Bucket(t, opts.Endpoint, opts.AccessKey, opts.SecretKey.Reveal())
	all := open(t, opts)
	opts.Prefix = "backups/host-1"
	s := open(t, opts)
	for _, name := range []string{"a", "backups/host-10/a", "backups/host-0/a"} {
		if err := all.Put(t.Context(), name, []byte("theirs"), false); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b/c"} {
		if err := s.Put(t.Context(), name, []byte("ours"), true); err != nil {
			t.Fatal(err)
		}
	}
	for store, want := range map[*Store][]string{
		s:   {"a", "b/c"},
		all: {"a", "backups/host-0/a", "backups/host-1/a", "backups/host-1/b/c", "backups/host-10/a"},
	} {
		if got, err := faulttest.Names(t.Context(), store, ""); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s holds %q, %v; want %q", store, got, err, want)
		}
	}
	if info, err := s.Stat(t.Context(), "b/c"); err != nil || info.Name != "b/c" || info.Size != 4 {
		t.Errorf("Stat: %+v, %v", info, err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if data, err := all.Get(t.Context(), "a", 0, -1); err != nil || string(data) != "theirs" {
		t.Errorf("another's object of that name: %q, %v", data, err)
	}
}

// TestCheck is about what people get wrong when they set storage up.
func TestCheck(t *testing.T) {
	good := server(t)
	good.Bucket = s3server.Bucket(t, good.Endpoint, good.AccessKey, good.SecretKey.Reveal())
	for name, c := range map[string]struct {
		spoil  func(*Options)
		class  error
		remedy string
	}{
		"nothing":    {func(*Options) {}, nil, ""},
		"region":     {func(o *Options) { o.Region = "eu-central-1" }, blob.ErrDenied, "us-east-1"},
		"access key": {func(o *Options) { o.AccessKey = "nobody" }, blob.ErrDenied, "correct the access key ID"},
		"secret key": {func(o *Options) { o.SecretKey = secret.NewValue("not-the-one") }, blob.ErrDenied, "correct the secret key"},
		"bucket":     {func(o *Options) { o.Bucket = "no-such-bucket" }, blob.ErrDenied, "make the bucket"},
		"port":       {func(o *Options) { o.Endpoint = "http://127.0.0.1:1" }, blob.ErrUnavailable, "check that a service runs at 127.0.0.1:1"},
		"host":       {func(o *Options) { o.Endpoint = "http://nowhere.invalid" }, blob.ErrUnavailable, ""},
		"https":      {func(o *Options) { o.Endpoint = strings.Replace(o.Endpoint, "http", "https", 1) }, blob.ErrDenied, "http://"},
		"session":    {func(o *Options) { o.SessionToken = secret.NewValue("stale") }, blob.ErrDenied, "get new ones"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := good
			c.spoil(&opts)
			s := open(t, opts)
			err := blob.Check(t.Context(), s)
			if !errors.Is(err, c.class) || c.class == nil && err != nil || !strings.Contains(remedy.Of(err), c.remedy) || err != nil && remedy.Of(err) == "" {
				t.Errorf("Check: %v\nremedy: %s\nwant %v with %q", err, remedy.Of(err), c.class, c.remedy)
			}
			if err != nil && strings.Contains(err.Error()+remedy.Of(err), opts.SecretKey.Reveal()) {
				t.Error("the secret key is in the error")
			}
			_, err = s.Stat(t.Context(), "a/b")
			if c.class == nil {
				c.class = blob.ErrNotFound
			}
			if !errors.Is(err, c.class) {
				t.Errorf("Stat: %v, want %v", err, c.class)
			}
		})
	}
}

// TestDataIsChecked changes a byte between us and the server, which has to notice.
func TestDataIsChecked(t *testing.T) {
	opts := server(t)
	opts.Bucket = s3server.Bucket(t, opts.Endpoint, opts.AccessKey, opts.SecretKey.Reveal())
	opts.HTTP = &http.Client{Transport: garbling{}}
	err := open(t, opts).Put(t.Context(), "a", bytes.Repeat([]byte("data"), 1000), false)
	if !errors.Is(err, blob.ErrUnavailable) {
		t.Errorf("Put of data that was changed on its way: %v, want ErrUnavailable", err)
	}
	opts.HTTP = nil
	if _, err := open(t, opts).Stat(t.Context(), "a"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("it was written: %v", err)
	}
}

// garbling is a network that changes what is sent.
type garbling struct{}

func (garbling) RoundTrip(req *http.Request) (*http.Response, error) {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	data[len(data)/2] ^= 1
	req.Body = io.NopCloser(bytes.NewReader(data))
	return http.DefaultTransport.RoundTrip(req)
}

// server starts a server; the options lack a bucket.
func server(t *testing.T) Options {
	t.Helper()
	endpoint, access, key := s3server.Start(t)
	return Options{Endpoint: endpoint, AccessKey: access, SecretKey: secret.NewValue(key)}
}

func open(t *testing.T, opts Options) *Store {
	t.Helper()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}
