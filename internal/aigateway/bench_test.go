package aigateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// The benchmarks set the gateway beside two others in the same run: the model
// itself (client and model are then all that costs), and the least a proxy of
// the standard library can do without losing streams. Client, proxy and model
// share one process, so cpu-us/op less that of "direct" is the proxy's own.

// The model of the benchmarks answers without looking, so that little of what
// is measured is its own.
func benchModel(b *testing.B) *httptest.Server {
	answer := []byte(`{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"` +
		strings.Repeat("word ", 40) + `"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":40}}`)
	delta := []byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"word \"}}\n\n")
	last := []byte("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if r.URL.RawQuery != "stream" || n == 0 {
			w.Header().Set("Content-Type", "application/json")
			w.Write(answer)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for range 200 {
			w.Write(delta)
			w.(http.Flusher).Flush()
		}
		w.Write(last)
	}))
	b.Cleanup(s.Close)
	return s
}

func benchTargets(b *testing.B) map[string]string {
	model := benchModel(b)
	to, err := url.Parse(model.URL)
	if err != nil {
		b.Fatal(err)
	}
	// As the product runs it: metered, priced, held to a budget, recorded.
	var set settings
	set.put("ANTHROPIC_API_KEY", anthropicKey)
	set.put("ANTHROPIC_BASE_URL", model.URL)
	o := Options{Settings: set.all}
	books := newBooks(b, daily(1_000_000*price.Dollar))
	books.use(&o)
	ctx, stop := context.WithCancel(context.Background())
	b.Cleanup(stop)
	go books.calls.Run(ctx)
	gw, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	ours := httptest.NewServer(gw.Handler("ada"))
	b.Cleanup(ours.Close)
	rp := &httputil.ReverseProxy{FlushInterval: -1, Transport: newTransport(), Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to)
		p.Out.URL.Path = strings.TrimPrefix(p.In.URL.Path, "/anthropic")
		p.Out.Header.Set("X-Api-Key", anthropicKey)
	}}
	std := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		rp.ServeHTTP(w, r)
	}))
	b.Cleanup(std.Close)
	return map[string]string{"direct": model.URL, "gateway": ours.URL, "reverseproxy": std.URL}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchCalls(b *testing.B, query, body string) {
	targets := benchTargets(b)
	for _, name := range []string{"direct", "reverseproxy", "gateway"} {
		b.Run(name, func(b *testing.B) {
			tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
			defer tr.CloseIdleConnections()
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				req, err := http.NewRequest("POST", targets[name]+"/anthropic/v1/messages"+query, strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Anthropic-Version", "2023-06-01")
				req.Header.Set("X-Api-Key", placeholder)
				resp, err := tr.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					b.Fatal(resp.Status, err)
				}
				resp.Body.Close()
			}
			b.ReportMetric(float64((cpuTime(b)-start).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

func benchBody(size int) string {
	return fmt.Sprintf(`{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"%s"}],"stream":true}`, strings.Repeat("x", size))
}

// BenchmarkSmall: 130 bytes in, a short JSON answer out.
func BenchmarkSmall(b *testing.B) { benchCalls(b, "", benchBody(40)) }

// BenchmarkTurn: what an OpenClaw turn sends, 46 KB, and a short JSON answer.
func BenchmarkTurn(b *testing.B) { benchCalls(b, "", benchBody(46_000)) }

// BenchmarkStream: a stream of 200 deltas, each flushed.
func BenchmarkStream(b *testing.B) { benchCalls(b, "?stream", benchBody(40)) }

func BenchmarkReadAsk(b *testing.B) {
	first := []byte(benchBody(46_000))
	last := []byte(strings.Replace(string(first), `"model":"m",`, "", 1))
	last = append(last[:len(last)-1], `,"model":"m"}`...)
	for name, doc := range map[string][]byte{"first": first, "last": last} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if readAsk(doc).model != "m" {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkMeter(b *testing.B) {
	delta := []byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"word \"}}\n\n")
	m, g := usage.NewMeter(usage.Anthropic, usage.SSE), newKeyGuard(anthropicKey)
	for b.Loop() {
		m.Write(delta)
		if _, err := g.pass(delta); err != nil {
			b.Fatal(err)
		}
	}
}
