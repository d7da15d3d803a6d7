package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
)

func sampleManifest(t testing.TB) *manifest {
	root := t.TempDir()
	for name, content := range map[string]string{"a": "1", "b c": "22", "sub/d": "", "sub/deeper/e é": "3"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/a \"quoted\" target", filepath.Join(root, "l k")); err != nil {
		t.Fatal(err)
	}
	m, err := freeze(root)
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Int64
	if err := m.hash(t.Context(), root, &done); err != nil {
		t.Fatal(err)
	}
	if m.files != 4 || m.bytes != 4 || done.Load() != 4 {
		t.Fatalf("%d files, %d bytes, %d hashed", m.files, m.bytes, done.Load())
	}
	return m
}

func TestManifestSurvivesItsFile(t *testing.T) {
	m := sampleManifest(t)
	got, err := decodeManifest(m.encode())
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%v\n%+v\n%+v", err, got, m)
	}
}

// Any change of any byte, and any cut, is noticed.
func TestManifestNoticesEveryChange(t *testing.T) {
	data := sampleManifest(t).encode()
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		if _, err := decodeManifest(changed); err == nil {
			t.Errorf("byte %d (%q) may be changed", i, data[i])
		}
		if _, err := decodeManifest(data[:i]); err == nil {
			t.Errorf("may be cut at byte %d", i)
		}
	}
}

func TestNamesThatCannotBeRecorded(t *testing.T) {
	root := t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "a\nb"), nil, 0o644))
	if _, err := freeze(root); err == nil || !strings.Contains(err.Error(), `a\nb`) {
		t.Errorf("%v", err)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add([]byte("moltworker-manifest 1\nd .\nf 444 1 2 x y\n"))
	f.Add(sampleManifest(f).encode())
	f.Fuzz(func(t *testing.T, body []byte) {
		// Past the hash, so that the lines themselves are tried too.
		m := &manifest{}
		for line := range strings.Lines(string(body)) {
			if m.addLine(strings.TrimSuffix(line, "\n")) != nil {
				break
			}
		}
		if m, err := decodeManifest(body); err == nil {
			if again, err := decodeManifest(m.encode()); err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("%v: %+v, %+v", err, m, again)
			}
		}
	})
}
