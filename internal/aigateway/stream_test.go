package aigateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/test/fakemodel"
)

// What the model sent is what the client got, however the bytes were cut up on
// the way.
func TestStreamsAreByteExact(t *testing.T) {
	text := "Grüße, 世界! " + strings.Repeat("🦞 data: event: \\n\"quoted\" ", 12)
	size := 0
	r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: text, ChunkSize: size}
	})
	for _, a := range apis {
		for _, size = range []int{0, 1, 2, 3, 7, 16, 61, 100, 4096, 1 << 20} {
			got := r.do(a.request(r.url, true))
			n, sum := r.lastCall().Sent()
			if got.end != nil || got.StatusCode != 200 {
				t.Fatalf("%s, chunks of %d: status %d, end %v", a.name, size, got.StatusCode, got.end)
			}
			if int64(len(got.body)) != n || sha256.Sum256([]byte(got.body)) != sum {
				t.Errorf("%s, chunks of %d: got %d bytes, %d were sent:\n%q", a.name, size, len(got.body), n, got.body)
			}
			if ct := got.Header.Get("Content-Type"); ct != "text/event-stream; charset=utf-8" {
				t.Errorf("%s: content type %q", a.name, ct)
			}
		}
	}
}

// The request's body arrives as the guest wrote it, with its length.
func TestRequestBodyIsByteExact(t *testing.T) {
	r := newRig(t, says("ok"))
	for _, a := range apis {
		req := a.request(r.url, false)
		pad := `{"messages":[{"role":"user","content":"` + strings.Repeat("ü\\u00e9 ", 200_000) + `"}], "max_tokens" : 5,` + "\n" + `"model":"m"}`
		if a.name == "openai" {
			pad = strings.Replace(pad, `"max_tokens" : 5,`, "", 1)
		}
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(pad)), -1
		got := r.do(req)
		c := r.lastCall()
		if got.StatusCode != 200 || string(c.Body) != pad || c.Header.Get("Content-Length") != fmt.Sprint(len(pad)) {
			t.Errorf("%s: status %d, %d of %d bytes, length %q: %s", a.name, got.StatusCode, len(c.Body), len(pad), c.Header.Get("Content-Length"), got.body)
		}
	}
}

// A delta reaches the client while the model is still thinking about the next.
func TestDeltasAreNotHeldBack(t *testing.T) {
	for _, a := range apis {
		hold := make(chan struct{})
		r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
			return fakemodel.Reply{Text: "one two", Hold: hold, HoldAt: map[string]int{"anthropic": 4, "openai": 2}[a.name]}
		})
		resp, err := http.DefaultTransport.RoundTrip(a.request(r.url, true))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for buf := make([]byte, 4096); !strings.Contains(got, "one "); {
			n, err := resp.Body.Read(buf)
			if got += string(buf[:n]); err != nil {
				t.Fatalf("%s: %v after %q", a.name, err, got)
			}
		}
		close(hold)
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(rest), "two") {
			t.Errorf("%s: end %v, rest %q", a.name, err, rest)
		}
	}
}

// A stream that breaks off anywhere, in any way, is never a clean end, and the
// last thing the client reads is the API's error event, on a line of its own.
func TestCutStreamsNeverEndCleanly(t *testing.T) {
	var reply fakemodel.Reply
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return reply })
	for _, a := range apis {
		reply = fakemodel.Reply{Text: "a few words here"}
		whole := r.do(a.request(r.url, true)).body
		for _, cut := range []fakemodel.Cut{fakemodel.CutClean, fakemodel.CutAbort, fakemodel.CutReset} {
			for at := 1; at < len(whole)-40; at += 1 + at%13 {
				reply = fakemodel.Reply{Text: "a few words here", Cut: cut, AfterBytes: at}
				got := r.do(a.request(r.url, true))
				checkBroken(t, fmt.Sprintf("%s, cut %d after %d bytes", a.name, cut, at), a, got, whole[:at], cut)
			}
		}
	}
}

func checkBroken(t *testing.T, what string, a api, got answer, sent string, cut fakemodel.Cut) {
	t.Helper()
	if got.StatusCode == http.StatusBadGateway && cut == fakemodel.CutReset {
		return // the reset overtook the header: an honest error as well
	}
	if !errors.Is(got.end, io.ErrUnexpectedEOF) {
		t.Fatalf("%s: ended with %v", what, got.end)
	}
	event := `data: {"error":{"message":"the model's answer broke off before its end"`
	if a.name == "anthropic" {
		event = "event: error\ndata: " + `{"type":"error","error":{"type":"api_error","message":"the model's answer broke off before its end"}}` + "\n\n"
	}
	i := strings.Index(got.body, event)
	if i < 0 || !strings.HasSuffix(got.body, "\n\n") {
		t.Fatalf("%s: no error event at the end of %q", what, got.body)
	}
	before := got.body[:i]
	sent = sent[:len(sent)-max(keyStart([]byte(sent), []byte(anthropicKey)), keyStart([]byte(sent), []byte(openaiKey)))]
	if cut == fakemodel.CutReset { // what was on the way may be lost
		sent = sent[:min(len(sent), len(strings.TrimRight(before, "\n")))]
	}
	if strings.TrimRight(before, "\n") != strings.TrimRight(sent, "\n") {
		t.Fatalf("%s: sent %q, got %q", what, sent, before)
	}
	if before != "" && !strings.HasSuffix(before, "\n\n") {
		t.Fatalf("%s: the error event does not begin an event: %q", what, before)
	}
}

// Once the protocol's last event is through, what the connection does after it
// is of no interest.
func TestCompleteStreamMayBeFollowedByAReset(t *testing.T) {
	for _, cut := range []fakemodel.Cut{fakemodel.CutClean, fakemodel.CutAbort, fakemodel.CutReset} {
		for _, a := range apis {
			r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
				return fakemodel.Reply{Text: "all of it", Cut: cut, AfterEvents: 100}
			})
			got := r.do(a.request(r.url, true))
			if cut == fakemodel.CutReset && strings.Contains(got.body, "broke off") {
				continue // the reset overtook the stream's end
			}
			if n, _ := r.lastCall().Sent(); got.end != nil || int64(len(got.body)) != n {
				t.Errorf("%s, cut %d: end %v, %d of %d bytes", a.name, cut, got.end, len(got.body), n)
			}
		}
	}
}

// An answer that is no stream and breaks off is an error or a broken
// connection, never a shorter answer.
func TestCutAnswersNeverEndCleanly(t *testing.T) {
	var at int
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Text: strings.Repeat("long ", 3000), ChunkSize: 512, Cut: fakemodel.CutAbort, AfterBytes: at}
	})
	for _, a := range apis {
		for _, at = range []int{1, 511, 512, 513, 8000} {
			got := r.do(a.request(r.url, false))
			if got.StatusCode == http.StatusOK && !errors.Is(got.end, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut after %d: ended with %v and %d bytes", a.name, at, got.end, len(got.body))
			}
		}
	}
}

// When the client leaves, the model's server is told at once.
func TestCancellationReachesUpstream(t *testing.T) {
	for _, a := range apis {
		for _, holdAt := range []int{0, 3} {
			hold := make(chan struct{})
			r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
				return fakemodel.Reply{Text: "some words", Hold: hold, HoldAt: holdAt}
			})
			ctx, cancel := context.WithCancel(t.Context())
			resp, err := http.DefaultTransport.RoundTrip(a.request(r.url, true).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the model is called", func() bool { return r.model.Last() != nil })
			cancel()
			resp.Body.Close()
			eventually(t, "the model's server sees the client leave", func() bool { return isClosed(r.lastCall().Gone) })
			eventually(t, "the call is logged as left", func() bool { return strings.Contains(r.log.String(), "the client went away") })
			close(hold)
		}
	}
}

// A client that stops reading does not hold the model's server for ever.
func TestClientThatTakesNothingIsDropped(t *testing.T) {
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Pieces: fakemodel.Repeat(strings.Repeat("much ", 2000), 1<<20)}
	}, func(o *Options) { o.Timeouts.Idle = 200 * time.Millisecond })
	resp, err := http.DefaultTransport.RoundTrip(apis[0].request(r.url, true))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	eventually(t, "the upstream call ends", func() bool { return isClosed(r.lastCall().Gone) })
}

// Many streams at once on a machine with no CPU to spare: all complete, not a
// byte changed. This is where a proxy that hands the client's body to its
// transport loses streams.
func TestStreamsUnderCPULoad(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	stop := make(chan struct{})
	defer close(stop)
	for range 4 * runtime.GOMAXPROCS(0) {
		go func() {
			for !isClosed(stop) {
				sha256.Sum256(make([]byte, 4096))
			}
		}()
	}
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
		return fakemodel.Reply{Pieces: fakemodel.Repeat("word ", 200)}
	})
	want := map[string]string{}
	for _, a := range apis {
		want[a.name] = r.do(a.request(r.url, true)).body
	}
	client := &http.Transport{MaxIdleConnsPerHost: 32}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range rounds {
				a := apis[i%2]
				resp, err := client.RoundTrip(a.request(r.url, true))
				if err != nil {
					t.Errorf("%s: %v", a.name, err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != want[a.name] {
					t.Errorf("%s: end %v, %d of %d bytes", a.name, err, len(body), len(want[a.name]))
				}
			}
		})
	}
	wg.Wait()
}
