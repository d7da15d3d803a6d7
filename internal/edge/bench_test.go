package edge

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/access"
)

// The benchmarks print what the edge adds to a gateway in the same process,
// reached directly and through the edge by the same client. p50 and p99 are of
// single round trips over an open connection.

func quiet(o *Options) { o.Log = slog.New(slog.DiscardHandler) }

func BenchmarkGET(b *testing.B) {
	w := serve(b, quiet)
	for _, line := range []struct{ name, addr string }{{"direct", w.main.addr}, {"edge", w.addr}} {
		b.Run(line.name, func(b *testing.B) {
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			r := mustRequest(b, "GET", "http://"+line.addr+"/x")
			r.Header.Set(access.TokenHeader, testToken)
			if line.name == "direct" {
				r.Header.Set("X-Forwarded-For", "192.0.2.1")
			}
			measure(b, func() error {
				resp, err := tr.RoundTrip(r)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					return fmt.Errorf("%s, %w", resp.Status, err)
				}
				return nil
			})
		})
	}
}

// dialLine opens a WebSocket to the gateway, directly or by way of the edge.
func dialLine(b *testing.B, name, addr string) *websocket.Conn {
	b.Helper()
	header := http.Header{access.TokenHeader: {testToken}}
	if name == "direct" {
		header.Set("X-Forwarded-For", "192.0.2.1")
	}
	c, _, err := websocket.Dial(testCtx(b), "ws://"+addr+"/", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkWebSocketEcho(b *testing.B) {
	w := serve(b, quiet)
	for _, line := range []struct{ name, addr string }{{"direct", w.main.addr}, {"edge", w.addr}} {
		b.Run(line.name, func(b *testing.B) {
			c := dialLine(b, line.name, line.addr)
			defer c.CloseNow()
			hello(b, c)
			ctx, message := b.Context(), []byte("a message of the usual kind, about a hundred bytes long, as the page's own events and requests are")
			measure(b, func() error {
				if err := c.Write(ctx, websocket.MessageText, message); err != nil {
					return err
				}
				_, _, err := c.Read(ctx)
				return err
			})
		})
	}
}

func measure(b *testing.B, trip func() error) {
	b.Helper()
	b.ReportAllocs()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := trip(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// Whole messages of a megabyte there and back.
func BenchmarkWebSocketBulk(b *testing.B) {
	w := serve(b, quiet)
	for _, line := range []struct{ name, addr string }{{"direct", w.main.addr}, {"edge", w.addr}} {
		b.Run(line.name, func(b *testing.B) {
			c := dialLine(b, line.name, line.addr)
			defer c.CloseNow()
			c.SetReadLimit(64 << 20)
			hello(b, c)
			message := make([]byte, 1<<20)
			b.SetBytes(2 * int64(len(message)))
			measure(b, func() error {
				if err := c.Write(b.Context(), websocket.MessageText, message); err != nil {
					return err
				}
				_, _, err := c.Read(b.Context())
				return err
			})
		})
	}
}
