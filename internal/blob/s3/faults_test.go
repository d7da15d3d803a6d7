package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// at returns a store at a server that answers as it likes.
func at(t *testing.T, handler http.HandlerFunc) *Store {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return open(t, Options{Endpoint: srv.URL, Bucket: "bucket", AccessKey: "id", SecretKey: secret.NewValue("top-secret-key")})
}

// answering answers every request alike.
func answering(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func says(code string) string {
	return "<?xml version=\"1.0\"?>\n<Error><Code>" + code + "</Code><Message>the service's words</Message></Error>"
}

// calls makes each call of the contract.
func calls(s *Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Put":    func(ctx context.Context) error { return s.Put(ctx, "a/b", []byte("data"), false) },
		"PutNew": func(ctx context.Context) error { return s.Put(ctx, "a/b", []byte("data"), true) },
		"Get":    func(ctx context.Context) error { _, err := s.Get(ctx, "a/b", 0, -1); return err },
		"GetOf":  func(ctx context.Context) error { _, err := s.Get(ctx, "a/b", 5, 10); return err },
		"Stat":   func(ctx context.Context) error { _, err := s.Stat(ctx, "a/b"); return err },
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, "a/b") },
		"List":   func(ctx context.Context) error { return s.List(ctx, "a/", func(blob.Info) error { return nil }) },
	}
}

// TestRefusals is about answers with one meaning for every call.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
		text   string // of the error or its remedy
	}{
		"500":            {500, says("InternalError"), blob.ErrUnavailable, ""},
		"500, no body":   {500, "", blob.ErrUnavailable, "HTTP status 500"},
		"502, a proxy":   {502, "<html>bad gateway</html>", blob.ErrUnavailable, ""},
		"503 SlowDown":   {503, says("SlowDown"), blob.ErrUnavailable, ""},
		"503, half":      {503, "<Error><Code>AccessDen", blob.ErrUnavailable, ""},
		"429":            {429, "", blob.ErrUnavailable, ""},
		"500, endless":   {500, strings.Repeat("x", 10*maxError), blob.ErrUnavailable, ""},
		"full":           {507, says("XMinioStorageFull"), blob.ErrUnavailable, "raise the quota"},
		"access":         {403, says("AccessDenied"), blob.ErrDenied, "permission"},
		"access, proxy":  {403, "no", blob.ErrDenied, "permission"},
		"access key":     {403, says("InvalidAccessKeyId"), blob.ErrDenied, "access key ID"},
		"secret key":     {403, says("SignatureDoesNotMatch"), blob.ErrDenied, "secret key"},
		"expired":        {400, says("ExpiredToken"), blob.ErrDenied, "temporary credentials"},
		"bucket":         {404, says("NoSuchBucket"), blob.ErrDenied, "make the bucket"},
		"not S3":         {404, "<html>not found</html>", blob.ErrDenied, "correct the endpoint"},
		"https expected": {400, "Client sent an HTTP request to an HTTPS server.", blob.ErrDenied, "correct the endpoint"},
		"unheard of":     {400, says("Strange\u202eThing"), blob.ErrDenied, "correct endpoint"},
		"region":         {400, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>", blob.ErrDenied, "eu-west-3"},
		"hostile region": {400, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>x; rm -r</Region></Error>", blob.ErrDenied, "the bucket's"},
		"moved":          {301, says("PermanentRedirect"), blob.ErrDenied, "set the region"},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, answering(c.status, nil, c.body))
			for call, do := range calls(s) {
				err := do(t.Context())
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", call, err, c.want)
					continue
				}
				if how := remedy.Of(err); c.want == blob.ErrDenied && how == "" {
					t.Errorf("%s: %v has no remedy", call, err)
				}
				all := err.Error() + " " + remedy.Of(err)
				if !strings.Contains(all, c.text) || strings.Contains(all, "top-secret-key") || len(all) > 1000 || strings.ContainsAny(all, "\u202e{}") {
					t.Errorf("%s says %q, want %q in it", call, all, c.text)
				}
			}
		})
	}
}

func TestClockSkew(t *testing.T) {
	there := time.Now().Add(20 * time.Minute).UTC().Format(http.TimeFormat)
	s := at(t, answering(403, map[string]string{"Date": there}, says("RequestTimeTooSkewed")))
	_, err := s.Get(t.Context(), "a", 0, -1)
	if !errors.Is(err, blob.ErrDenied) || !strings.Contains(err.Error(), "slow") || !strings.Contains(remedy.Of(err), "set the clock") {
		t.Errorf("Get: %v; %s", err, remedy.Of(err))
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for date, want := range map[string]string{
		"Fri, 02 Jan 2026 03:14:05 GMT": ": it is 10m0s slow",
		"Fri, 02 Jan 2026 03:03:05 GMT": ": it is 1m0s fast",
		"Fri, 02 Jan 2026 03:04:05 GMT": "",
		"yesterday":                     "",
	} {
		if got := skew(date, now); got != want {
			t.Errorf("skew from %s: %q, want %q", date, got, want)
		}
	}
}

// TestConflict is about 409, which says that somebody else is at the object, and
// not who wins.
func TestConflict(t *testing.T) {
	for name, c := range map[string]struct {
		there int // what HEAD and GET say
		want  error
	}{
		"another was quicker": {200, blob.ErrExists},
		"another deletes it":  {404, blob.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPut:
					answering(409, nil, says("ConditionalRequestConflict"))(w, r)
				case c.there == 200:
					answering(200, map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}, "x")(w, r)
				default:
					answering(404, nil, says("NoSuchKey"))(w, r)
				}
			})
			if err := s.Put(t.Context(), "a", []byte("x"), true); !errors.Is(err, c.want) {
				t.Errorf("Put: %v, want %v", err, c.want)
			}
		})
	}
}

// TestNonsense is about answers of success that cannot be true.
func TestNonsense(t *testing.T) {
	modified := map[string]string{"Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
	for name, c := range map[string]struct {
		call    string
		handler http.HandlerFunc
	}{
		"a page for a list":         {"List", answering(200, nil, "<html><body>Welcome</body></html>")},
		"nothing for a list":        {"List", answering(200, nil, "")},
		"half a list":               {"List", answering(200, nil, "<ListBucketResult><Contents><Key>a/b</Key>")},
		"an endless list":           {"List", answering(200, nil, "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken></ListBucketResult>")},
		"a list in a circle":        {"List", answering(200, nil, listOf(true, "a/b"))},
		"a list out of order":       {"List", answering(200, nil, listOf(false, "a/c", "a/b"))},
		"another prefix":            {"List", answering(200, nil, listOf(false, "b/a"))},
		"a list that does not stop": {"List", answering(200, nil, listOf(true))},
		"an object that is cut":     {"Get", cut("100", 50)},
		"an object without length":  {"Get", flushing},
		"a length that is too small": {"GetOf", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 5-14/100")
			w.Header().Set("Content-Length", "3")
			w.WriteHeader(206)
			_, _ = io.WriteString(w, "abc")
		}},
		"another part":             {"GetOf", answering(206, map[string]string{"Content-Range": "bytes 0-9/100"}, "0123456789")},
		"more than the part":       {"GetOf", answering(206, map[string]string{"Content-Range": "bytes 5-15/100"}, "0123456789a")},
		"less than the part":       {"GetOf", answering(206, map[string]string{"Content-Range": "bytes 5-6/100"}, "01")},
		"a part of nothing":        {"GetOf", answering(206, nil, "0123456789")},
		"a page for what was put":  {"Put", answering(200, nil, "<html>Welcome</html>")},
		"an object without a time": {"Stat", answering(200, nil, "x")},
		"an object without a size": {"Stat", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", modified["Last-Modified"])
			w.(http.Flusher).Flush()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, c.handler)
			err := calls(s)[c.call](t.Context())
			if !errors.Is(err, blob.ErrUnavailable) || remedy.Of(err) == "" {
				t.Errorf("%s: %v, want ErrUnavailable with a remedy", c.call, err)
			}
		})
	}
}

// TestRangeIgnored is about servers that always send the whole object.
func TestRangeIgnored(t *testing.T) {
	s := at(t, answering(200, nil, "0123456789"))
	for _, c := range []struct {
		off, n int64
		want   string
	}{{2, 3, "234"}, {8, 100, "89"}, {5, -1, "56789"}, {10, 1, ""}, {99, -1, ""}} {
		got, err := s.Get(t.Context(), "a", c.off, c.n)
		if err != nil || string(got) != c.want {
			t.Errorf("Get from %d, %d bytes: %q, %v; want %q", c.off, c.n, got, err, c.want)
		}
	}
}

// TestRedirectLeaksNothing is about a server that sends us to another.
func TestRedirectLeaksNothing(t *testing.T) {
	var visited atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := at(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+r.URL.Path, status) })
		for call, do := range calls(s) {
			if err := do(t.Context()); !errors.Is(err, blob.ErrDenied) {
				t.Errorf("%s with status %d: %v, want ErrDenied", call, status, err)
			}
		}
	}
	if visited.Load() != 0 {
		t.Errorf("the other server was visited %d times", visited.Load())
	}
}

// TestHang is about servers that do not answer: who waits decides how long.
func TestHang(t *testing.T) {
	end := make(chan struct{})
	arrived := make(chan struct{}, 100)
	s := at(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(end) }) // before the server's
	for call, do := range calls(s) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		if err := do(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("%s: %v, want context.Canceled only", call, err)
		}
	}
}

// TestDataIsTheCallersAgain is about transports that go on reading what they send
// after they have returned the answer, as net/http's does.
func TestDataIsTheCallersAgain(t *testing.T) {
	var body io.Reader
	s := with(t, func(req *http.Request) (*http.Response, error) {
		body = req.Body
		_, err := io.ReadFull(body, make([]byte, 2))
		return &http.Response{StatusCode: 403, Body: http.NoBody}, err
	})
	if err := s.Put(t.Context(), "a", []byte("data"), false); !errors.Is(err, blob.ErrDenied) {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(body); len(rest) != 0 || err == nil {
		t.Errorf("after Put has returned %q can be read of the caller's data, %v", rest, err)
	}
}

// TestHugeAnswers is about answers without an end, which are not read to it.
func TestHugeAnswers(t *testing.T) {
	const room = 1 << 20
	for name, c := range map[string]struct {
		call   string
		status int
		limit  int64
	}{
		"list":    {"List", 200, maxList},
		"object":  {"Get", 200, blob.MaxObject},
		"refusal": {"Put", 500, maxError},
	} {
		t.Run(name, func(t *testing.T) {
			var body zeros
			s := with(t, func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: c.status, ContentLength: -1, Body: io.NopCloser(&body)}, nil
			})
			if err := calls(s)[c.call](t.Context()); !errors.Is(err, blob.ErrUnavailable) {
				t.Errorf("%s: %v, want ErrUnavailable", c.call, err)
			}
			if body.read > c.limit+room {
				t.Errorf("%s read %d bytes, more than %d", c.call, body.read, c.limit)
			}
		})
	}
}

// zeros have no end.
type zeros struct{ read int64 }

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.read += int64(len(p))
	return len(p), nil
}

// TestPatience is about servers that do not answer, or stop, and about those that
// are slow and go on all the time.
func TestPatience(t *testing.T) {
	for name, c := range map[string]struct {
		network roundTrip
		stalls  bool
	}{
		"no answer": {func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, context.Cause(req.Context())
		}, true},
		"half an answer": {func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, ContentLength: 20, Body: io.NopCloser(&drip{ctx: req.Context(), left: 10})}, nil
		}, true},
		"a slow answer": {func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, ContentLength: 20, Body: io.NopCloser(&drip{ctx: req.Context(), left: 20, ends: true})}, nil
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := with(t, c.network)
				began := time.Now()
				data, err := s.Get(t.Context(), "a", 0, -1)
				if c.stalls && (!errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "no progress")) {
					t.Errorf("Get: %v, want ErrUnavailable for want of progress", err)
				}
				if !c.stalls && (err != nil || len(data) != 20 || time.Since(began) < 2*s.opts.Patience) {
					t.Errorf("Get: %d bytes after %v, %v", len(data), time.Since(began), err)
				}
			})
		})
	}
}

// drip is a body that comes a byte at a time, each after half of our patience.
type drip struct {
	ctx  context.Context
	left int
	ends bool // rather than stops coming
}

func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 && d.ends {
		return 0, io.EOF
	}
	if d.left == 0 {
		<-d.ctx.Done()
		return 0, d.ctx.Err()
	}
	d.left--
	time.Sleep(defaultPatience / 2)
	p[0] = 'x'
	return 1, nil
}

// TestForeignObjects is about a bucket that is not only ours.
func TestForeignObjects(t *testing.T) {
	s := at(t, answering(200, nil, listOf(false, "a/", "a/%C3%A4", "a/1", "a/Readme.TXT", "a/b+c", "a/x.tmp", "a/z")))
	var got []string
	if err := s.List(t.Context(), "a/", func(i blob.Info) error { got = append(got, i.Name); return nil }); err == nil {
		t.Error("a list out of order passed") // "ä" comes after "z"
	}
	s = at(t, answering(200, nil, listOf(false, "a/", "a/1", "a/R%20.TXT", "a/b%2Bc", "a/x.tmp", "a/z", "a/%C3%A4")))
	got = nil
	if err := s.List(t.Context(), "a/", func(i blob.Info) error { got = append(got, i.Name); return nil }); err != nil || !slices.Equal(got, []string{"a/1", "a/z"}) {
		t.Errorf("List: %q, %v", got, err)
	}
}

func listOf(truncated bool, keys ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>%v</IsTruncated><NextContinuationToken>t</NextContinuationToken>", truncated)
	for _, key := range keys {
		fmt.Fprintf(&b, "<Contents><Key>%s</Key><Size>1</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>", key)
	}
	return b.String() + "</ListBucketResult>"
}

// cut promises more than it sends.
func cut(promised string, sent int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", promised)
		_, _ = io.WriteString(w, strings.Repeat("x", sent))
	}
}

// flushing does not say how long the answer is.
func flushing(w http.ResponseWriter, _ *http.Request) {
	w.(http.Flusher).Flush()
	_, _ = io.WriteString(w, "data")
}

// FuzzList holds that no answer makes List show what was not asked for, or fail
// without an error of the contract.
func FuzzList(f *testing.F) {
	f.Add(listOf(false, "a/b", "a/c"))
	f.Add(listOf(true, "a/%zz"))
	f.Add("<ListBucketResult xmlns='x'><Contents><Key>a/\x00</Key><Size>-1</Size></Contents></ListBucketResult>")
	f.Add(says("AccessDenied"))
	f.Fuzz(func(t *testing.T, body string) {
		s := with(t, func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}, nil
		})
		last := ""
		err := s.List(t.Context(), "a/", func(i blob.Info) error {
			if blob.ValidateName(i.Name) != nil || !strings.HasPrefix(i.Name, "a/") || i.Name <= last || i.Size < 0 {
				t.Errorf("List shows %+v after %q", i, last)
			}
			last = i.Name
			return nil
		})
		if err != nil && !errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("List: %v", err)
		}
	})
}

// with returns a store with a prefix, behind a network of the test's.
func with(t *testing.T, network roundTrip) *Store {
	t.Helper()
	return open(t, Options{Endpoint: "https://s3.example.com", Bucket: "bucket", Prefix: "p", AccessKey: "id", SecretKey: secret.NewValue("key"),
		HTTP: &http.Client{Transport: network}})
}

// roundTrip is a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }
