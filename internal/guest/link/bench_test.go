package link

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// The baseline: the same socket without a link on it.
func BenchmarkPingPongRaw(b *testing.B) {
	x, y := socketPair(b)
	pingPong(b, x, y)
}

func BenchmarkPingPongConn(b *testing.B) {
	guest, host, _ := pair(b)
	pingPong(b, host, guest)
}

func BenchmarkPingPongStream(b *testing.B) {
	guest, host := sessions(b)
	x, y := benchStreams(b, host, guest)
	pingPong(b, x, y)
}

func BenchmarkThroughputRaw(b *testing.B) {
	x, y := socketPair(b)
	pour(b, x, y)
}

func BenchmarkThroughputStream(b *testing.B) {
	guest, host := sessions(b)
	x, y := benchStreams(b, host, guest)
	pour(b, x, y)
}

func BenchmarkOpenStream(b *testing.B) {
	guest, host := sessions(b)
	go func() {
		for {
			st, err := guest.Accept(b.Context())
			if err != nil {
				return
			}
			go func() { io.Copy(st, st); st.Close() }()
		}
	}()
	for b.Loop() {
		st, err := host.OpenStream(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		st.Write([]byte("x"))
		io.ReadFull(st, make([]byte, 1))
		st.Close()
	}
}

func benchStreams(b *testing.B, a, c *Session) (net.Conn, net.Conn) {
	x, err := a.OpenStream(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	y, err := c.Accept(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return x, y
}

func pingPong(b *testing.B, x, y io.ReadWriter) {
	go io.Copy(y, struct{ io.Reader }{y})
	p := make([]byte, 200)
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		x.Write(p)
		if _, err := io.ReadFull(x, p); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func pour(b *testing.B, x io.Writer, y io.Reader) {
	p := make([]byte, 32<<10)
	b.SetBytes(int64(len(p)))
	go func() {
		for {
			if _, err := x.Write(p); err != nil {
				return
			}
		}
	}()
	q := make([]byte, len(p))
	for b.Loop() {
		if _, err := io.ReadFull(y, q); err != nil {
			b.Fatal(err)
		}
	}
}
