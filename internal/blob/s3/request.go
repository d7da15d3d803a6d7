package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"
)

// What an answer's body may have at most, in bytes.
const (
	maxError = 64 << 10
	maxList  = 8 << 20 // of 1000 objects
)

// errStalled ends requests that make no progress.
var errStalled = errors.New("no progress")

// call is one request.
type call struct {
	method string
	key    string // of the object; "" for the bucket
	query  url.Values
	header map[string]string
	body   []byte // of a PUT
	limit  int64  // what the body of a good answer may have
}

// answer is a response that was read whole.
type answer struct {
	status int
	header http.Header
	length int64 // as the server declared it; -1 when it did not
	body   []byte
}

// do makes a request and reads the answer. The error is of the contract, or that
// of ctx: an answer is one with a status of success.
func (s *Store) do(ctx context.Context, c call) (*answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	watched, w := watch(ctx, s.opts.Patience)
	defer w.stop()
	req, err := s.request(watched, c, w)
	if err != nil {
		return nil, err
	}
	a, err := s.send(req, c, w)
	switch {
	case err == nil && a.status/100 == 2:
		return a, nil
	case err == nil:
		return nil, s.refusal(c, a)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(context.Cause(watched), errStalled):
		err = fmt.Errorf("%w for %v", errStalled, s.opts.Patience)
	}
	return nil, s.unreachable(err)
}

// request makes and signs an HTTP request.
func (s *Store) request(ctx context.Context, c call, w *watchdog) (*http.Request, error) {
	u := *s.endpoint
	u.Path += c.key
	u.RawQuery = c.query.Encode()
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, value := range c.header {
		req.Header.Set(name, value)
	}
	// The server checks what it gets against the sum, which the signature covers.
	sum := sha256.Sum256(c.body)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	if c.method == http.MethodPut {
		// Many services check this one also when they write the bytes down.
		sum := md5.Sum(c.body)
		req.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
		req.Header.Set("Content-Type", "application/octet-stream")
		req.ContentLength = int64(len(c.body))
		req.Body = http.NoBody
		if len(c.body) > 0 {
			req.Body = w.upload(c.body)
			req.GetBody = func() (io.ReadCloser, error) { return w.upload(c.body), nil }
		}
	}
	return signer.SignV4(*req, s.opts.AccessKey, s.opts.SecretKey.Reveal(), s.opts.SessionToken.Reveal(), s.opts.Region), nil
}

// send sends a request and reads the answer within its bounds.
func (s *Store) send(req *http.Request, c call, w *watchdog) (*answer, error) {
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &answer{status: res.StatusCode, header: res.Header, length: res.ContentLength}
	if c.method == http.MethodHead {
		return a, nil // the length is the object's
	}
	limit, good := c.limit, a.status/100 == 2
	if !good {
		limit = maxError
	}
	a.body, err = readBounded(w.download(res.Body), a.length, limit, good)
	return a, err
}

// readBounded reads a body of at most limit bytes. A longer one is an error if it
// is needed whole, and is cut if not.
func readBounded(r io.Reader, declared, limit int64, whole bool) ([]byte, error) {
	if whole && declared > limit {
		return nil, fmt.Errorf("%w: the answer has %d bytes, at most %d were expected", errNonsense, declared, limit)
	}
	var buf bytes.Buffer
	if declared > 0 {
		buf.Grow(int(min(declared, limit)) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if n > limit {
		if whole {
			return nil, fmt.Errorf("%w: the answer has more than the %d bytes that were expected", errNonsense, limit)
		}
		buf.Truncate(int(limit))
	}
	return buf.Bytes(), nil
}

// watchdog ends a request that makes no progress: no byte read or written, and
// no answer, for the time of its patience.
type watchdog struct {
	patience time.Duration
	timer    *time.Timer
	cancel   context.CancelCauseFunc

	mu   sync.Mutex // held while the caller's data is read
	over bool       // the data is the caller's again
}

func watch(ctx context.Context, patience time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watchdog{patience: patience, timer: time.AfterFunc(patience, func() { cancel(errStalled) }), cancel: cancel}
}

// stop ends the request, whether it is done or not.
func (w *watchdog) stop() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.timer.Stop()
	w.cancel(nil)
}

func (w *watchdog) progress(n int) {
	if n > 0 {
		w.timer.Reset(w.patience)
	}
}

// download makes every read from r count as progress.
func (w *watchdog) download(r io.Reader) io.Reader { return &download{r, w} }

type download struct {
	r io.Reader
	w *watchdog
}

func (d *download) Read(b []byte) (int, error) {
	n, err := d.r.Read(b)
	d.w.progress(n)
	return n, err
}

// upload is data on its way out, of which every read counts as progress. A
// transport may go on reading after it has returned the answer; never after stop.
func (w *watchdog) upload(data []byte) io.ReadCloser { return &upload{bytes.NewReader(data), w} }

type upload struct {
	r *bytes.Reader
	w *watchdog
}

func (u *upload) Read(b []byte) (int, error) {
	u.w.mu.Lock()
	defer u.w.mu.Unlock()
	if u.w.over {
		return 0, io.ErrClosedPipe
	}
	n, err := u.r.Read(b)
	u.w.progress(n)
	return n, err
}

func (u *upload) Close() error { return nil }
