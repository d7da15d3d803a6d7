package realtime

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

// plain copies both ways and understands nothing.
func plain(client, upstream net.Conn) {
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(struct{ io.Writer }{upstream}, struct{ io.Reader }{client})
		close(done)
	}()
	_, _ = io.Copy(struct{ io.Writer }{client}, struct{ io.Reader }{upstream})
	<-done
}

// BenchmarkRoundTrip sends a message up and the same down again, and waits for it;
// "copy" is io.Copy in both directions.
func BenchmarkRoundTrip(b *testing.B) {
	hear := func([]byte) error { return nil }
	for _, size := range []struct {
		name string
		n    int
	}{{"200B", 200}, {"16KiB", 16 << 10}, {"1MiB", 1 << 20}} {
		for _, way := range []struct {
			name string
			run  func(client, upstream net.Conn)
		}{
			{"copy", plain},
			{"frames", func(c, u net.Conn) { _, _ = Run(context.Background(), c, u, Options{}) }},
			{"heard", func(c, u net.Conn) {
				_, _ = Run(context.Background(), c, u, Options{Up: hear, Down: hear, Withheld: [][]byte{[]byte("sk-proj-0123456789abcdef")}})
			}},
		} {
			b.Run(size.name+"/"+way.name, func(b *testing.B) { roundTrips(b, size.n, way.run) })
		}
	}
}

func roundTrips(b *testing.B, n int, run func(client, upstream net.Conn)) {
	client, nearClient := tcp(b)
	nearUpstream, upstream := tcp(b)
	done := make(chan struct{})
	go func() { run(nearClient, nearUpstream); close(done) }()
	payload := strings.Repeat(`{"type":"response.audio.delta","delta":"UklGRiQAAABXQVZF"}`, n/56+1)[:n]
	up, down := text(true, payload), text(false, payload)
	served := make(chan struct{})
	go func() {
		defer close(served)
		in := make([]byte, len(up))
		for {
			if _, err := io.ReadFull(upstream, in); err != nil {
				return
			}
			if _, err := upstream.Write(down); err != nil {
				return
			}
		}
	}()
	in := make([]byte, len(down))
	b.SetBytes(int64(len(up) + len(down)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(up); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, in); err != nil {
			b.Fatal(err)
		}
	}
	client.Close()
	upstream.Close()
	<-done
	<-served
}

// BenchmarkPieces is what understanding costs without connections: 32 KiB at a time
// of a server's messages of 1 KiB.
func BenchmarkPieces(b *testing.B) {
	message := text(false, strings.Repeat(`{"delta":"UklGRiQAAABXQVZF","s":"k"}`, 28))
	in := cut([]byte(strings.Repeat(string(message), 1000)), pieceSize)
	total := int64(1000 * len(message))
	for _, bench := range []struct {
		name string
		o    Options
	}{
		{"frames", Options{}},
		{"heard", Options{Down: func([]byte) error { return nil }}},
		{"guarded", Options{Withheld: [][]byte{[]byte("sk-proj-0123456789abcdef")}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(total)
			b.ReportAllocs()
			for b.Loop() {
				from := &script{pieces: append([][]byte(nil), in...)}
				s := newSession(nowhere{}, from, bench.o.withDefaults())
				s.down.run()
			}
		})
	}
}

type nowhere struct{}

func (nowhere) Read([]byte) (int, error)    { return 0, io.EOF }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }
