package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// modelCall is a call as an agent makes it.
type modelCall struct {
	form   form
	model  string
	stream bool
	wish   wish
	prefix string // before the order in the message: by it the gateway tells why an agent calls
	pad    int    // bytes after it
	pieces bool   // sent without its length, as some clients do
}

// body is the request's. Nothing in it needs escaping.
func (c modelCall) body() []byte {
	content := c.prefix + c.wish.String() + " hello" + strings.Repeat(" word", c.pad/5)
	most, options := "max_tokens", ""
	if c.form == openaiForm {
		most = "max_completion_tokens"
		if c.stream {
			options = `,"stream_options":{"include_usage":true}` // as OpenClaw asks
		}
	}
	return fmt.Appendf(nil, `{"model":"%s","%s":%d,"stream":%t%s,"messages":[{"role":"user","content":"%s"}]}`, c.model, most, tokensOut, c.stream, options, content)
}

// reply is what came of a call.
type reply struct {
	status int
	body   []byte
	first  time.Duration // from the start until the first delta of a stream was there
	err    error         // how the body ended, if not well
	header http.Header
}

// call makes a call to a path of a target and reads the answer to its end. err is for
// calls that got none.
func (t *target) call(ctx context.Context, path string, c modelCall) (reply, error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(c.body()))
	if err != nil {
		return reply{}, err
	}
	if c.pieces {
		req.ContentLength = -1
	}
	for name, values := range t.header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	if c.form == anthropicForm {
		req.Header.Set("Anthropic-Version", "2023-06-01")
		req.Header.Set("X-Api-Key", "of-the-guest")
	} else {
		req.Header.Set("Authorization", "Bearer of-the-guest")
	}
	resp, err := t.client.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode, header: resp.Header}
	if c.stream {
		err = r.readFirst(resp.Body, began)
	}
	if err == nil {
		var rest []byte
		rest, err = io.ReadAll(resp.Body)
		r.body = append(r.body, rest...)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return r, nil
}

// readFirst reads a stream until its first delta with text is there.
func (r *reply) readFirst(from io.Reader, began time.Time) error {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		r.body = append(r.body, buf[:n]...)
		if bytes.Contains(r.body, []byte(`"text_delta"`)) || bytes.Contains(r.body, []byte(`"delta":{"content":"`)) {
			r.first = time.Since(began)
			return err
		}
		if err != nil {
			return err
		}
	}
}

// good makes a call that must be answered well, and says how long it took.
func (t *target) good(ctx context.Context, c modelCall) (took, first time.Duration, err error) {
	began := time.Now()
	r, err := t.call(ctx, t.base+t.paths(c.form), c)
	took = time.Since(began)
	if err = errors.Join(err, r.err); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", t.name, err)
	}
	end := `"stop_reason":"end_turn"`
	if c.stream {
		end = "message_stop"
	}
	if r.status != http.StatusOK || !bytes.Contains(r.body, []byte(end)) {
		return 0, 0, fmt.Errorf("%s: %d %.300s", t.name, r.status, r.body)
	}
	return took, r.first, nil
}

// together has so many clients make n calls.
func together(clients, n int, call func(i int) error) error {
	var group sync.WaitGroup
	var next atomic.Int64
	failed := make([]error, clients)
	for c := range clients {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed[c] != nil {
					return
				}
				failed[c] = call(i)
			}
		})
	}
	group.Wait()
	return errors.Join(failed...)
}
