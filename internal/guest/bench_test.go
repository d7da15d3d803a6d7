package guest_test

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// echo is a TCP server inside, which the benchmarks reach directly and through
// the guest.
func echo(b *testing.B) (port int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

func BenchmarkEchoDirect(b *testing.B) {
	c, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: echo(b)})
	if err != nil {
		b.Fatal(err)
	}
	rounds(b, c)
}

func BenchmarkEchoThroughGuest(b *testing.B) {
	c, err := start(b).DialPort(b.Context(), echo(b))
	if err != nil {
		b.Fatal(err)
	}
	rounds(b, c)
}

func rounds(b *testing.B, c net.Conn) {
	defer c.Close()
	p := make([]byte, 200)
	measure(b, func() {
		c.Write(p)
		if _, err := io.ReadFull(c, p); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkDialPort(b *testing.B) {
	h := start(b)
	port := echo(b)
	measure(b, func() {
		c, err := h.DialPort(b.Context(), port)
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	})
}

func BenchmarkExec(b *testing.B) {
	h := start(b)
	measure(b, func() {
		if _, err := h.Exec(b.Context(), sh(":"), nil, io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	})
}

func measure(b *testing.B, once func()) {
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		once()
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
