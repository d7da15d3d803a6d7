package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// What a process inside waits for the look at a path five directories deep: in a
// mount whose entries the sandbox's kernel keeps, and in one of which it asks the
// host anew.
func BenchmarkLookups(b *testing.B) {
	const looks = 20_000
	const deep = "a/b/c/d/e"
	tree := b.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, deep), 0o755); err != nil {
		b.Fatal(err)
	}
	if _, err := Prepare(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	for name, kept := range map[string]bool{"kept": true, "asked": false} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			d, err := New(Options{Root: filepath.Join(dir, "root")})
			if err != nil {
				b.Fatal(err)
			}
			n := night{b: b, d: d, least: map[string]time.Duration{}, spec: sandbox.Spec{
				ID: "bench", Hostname: "bench", Log: filepath.Join(dir, "log"),
				Args: []string{"/bin/sh", "-c", fmt.Sprintf(
					`echo up; i=0; while [ $i -lt %d ]; do [ -d /mnt/%s ] || exit 1; i=$((i+1)); done; echo done; while :; do sleep 1; done`, looks, deep)},
				Mounts: []sandbox.Mount{{Source: tree, Destination: "/mnt", ReadOnly: true, Unchanging: kept}},
			}}
			for b.Loop() {
				os.Remove(n.spec.Log)
				s, err := d.Start(b.Context(), n.spec)
				if err != nil {
					b.Fatal(err)
				}
				n.says("up")
				n.start()
				n.says("done")
				n.took("looks", nil)
				if err := s.Destroy(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n.least["looks"].Nanoseconds())/looks/1000, "µs/look")
		})
	}
}
