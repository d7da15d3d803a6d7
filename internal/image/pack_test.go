package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var encodings = []encoding{{sealed: true}, {compressed: true}, {true, true}}

func packed(t testing.TB, e encoding, plain []byte) ([]byte, File) {
	p, err := newPacking(e, bytes.Repeat([]byte{5}, keySize), "x")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	f, err := p.pack(t.Context(), &b, bytes.NewReader(plain), func() {})
	if err != nil || f.Stored != int64(b.Len()) || f.Size != int64(len(plain)) {
		t.Fatalf("%+v, %v; packed %d bytes", f, err, b.Len())
	}
	return b.Bytes(), f
}

// unpacked reads data in both ways, which must agree.
func unpacked(t testing.TB, e encoding, data []byte, want File) ([]byte, error) {
	p, err := newPacking(e, bytes.Repeat([]byte{5}, keySize), "x")
	if err != nil {
		t.Fatal(err)
	}
	out, err := create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(want.Size); err != nil {
		t.Fatal(err)
	}
	err = p.unpack(t.Context(), out, bytes.NewReader(data), want)
	var inOrder bytes.Buffer
	err2 := p.copyPlain(t.Context(), &inOrder, bytes.NewReader(data), want)
	if (err == nil) != (err2 == nil) {
		t.Fatalf("in parallel: %v, in order: %v", err, err2)
	}
	if err != nil {
		wantErr(t, errors.Join(err, err2), ErrCorrupt)
		return nil, err
	}
	got, err := os.ReadFile(out.Name())
	if err != nil || !bytes.Equal(got, inOrder.Bytes()) {
		t.Fatalf("in parallel and in order differ, %v", err)
	}
	return got, nil
}

func TestPackedFiles(t *testing.T) {
	noise := payload(3)["pages.img"]
	for _, e := range encodings {
		for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize, len(noise)} {
			plain := noise[len(noise)-size:]
			data, want := packed(t, e, plain)
			got, err := unpacked(t, e, data, want)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%v, %d bytes: got %d, %v", e, size, len(got), err)
			}
		}
	}
}

func TestAlteredPackedFiles(t *testing.T) {
	noise := payload(3)["pages.img"]
	plain := noise[len(noise)-3*chunkSize-5:]
	for _, e := range encodings {
		data, want := packed(t, e, plain)
		record := 4 + chunkSize // of noise, at least
		for what, alter := range map[string]func(b []byte) []byte{
			"cut short":         func(b []byte) []byte { return b[:len(b)-1] },
			"a record less":     func(b []byte) []byte { return b[:record] },
			"longer":            func(b []byte) []byte { return append(b, 0) },
			"empty":             func(b []byte) []byte { return nil },
			"the beginning":     func(b []byte) []byte { b[7] ^= 1; return b },
			"the first length":  func(b []byte) []byte { b[11] ^= 1; return b },
			"a huge record":     func(b []byte) []byte { b[8] = 0x7f; return b },
			"an early last one": func(b []byte) []byte { b[8] |= 0x80; return b },
			"a bit amid":        func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"the last bit":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		} {
			if _, err := unpacked(t, e, alter(bytes.Clone(data)), want); err == nil {
				t.Errorf("%v: %s not found", e, what)
			}
		}
		if e.sealed && !e.compressed { // records of equal length can be swapped
			b := bytes.Clone(data)
			size := 4 + chunkSize + 16
			first := bytes.Clone(b[8 : 8+size])
			copy(b[8:], b[8+size:8+2*size])
			copy(b[8+size:], first)
			if _, err := unpacked(t, e, b, want); err == nil {
				t.Error("swapped chunks not found")
			}
		}
		other := want
		other.Size++
		if _, err := unpacked(t, e, data, other); err == nil {
			t.Errorf("%v: another size not found", e)
		}
	}
}

func FuzzPacked(f *testing.F) {
	for _, e := range encodings {
		for _, size := range []int{0, 5, chunkSize + 5} {
			data, _ := packed(f, e, make([]byte, size))
			f.Add(e.compressed, e.sealed, int64(size), data)
		}
	}
	f.Fuzz(func(t *testing.T, compressed, sealed bool, size int64, data []byte) {
		e := encoding{compressed, sealed}
		if e.plain() || size < 0 || size > 4*chunkSize {
			return
		}
		_, _ = unpacked(t, e, data, File{Name: "x", Size: size, Sum: newSums(size).String()})
	})
}

func someManifest() Manifest {
	return Manifest{Version: 1, ID: "1", Created: time.Unix(1, 0).UTC(), Binding: binding(3),
		Files: []File{{Name: "a", Sum: newSums(0).String()}}, Meta: json.RawMessage(`{"a":"<&\u2028>"}`)}
}

func TestManifestBounds(t *testing.T) {
	for what, change := range map[string]func(*Manifest){
		"version":   func(m *Manifest) { m.Version = 2 },
		"no id":     func(m *Manifest) { m.ID = "" },
		"no files":  func(m *Manifest) { m.Files = nil },
		"many":      func(m *Manifest) { m.Files = make([]File, maxFiles+1) },
		"path":      func(m *Manifest) { m.Files[0].Name = "../a" },
		"hidden":    func(m *Manifest) { m.Files[0].Name = ".a" },
		"twice":     func(m *Manifest) { m.Files = append(m.Files, m.Files[0]) },
		"negative":  func(m *Manifest) { m.Files[0].Size = -1 },
		"enormous":  func(m *Manifest) { m.Files[0].Size = maxFile + 1 },
		"no sum":    func(m *Manifest) { m.Files[0].Sum = "" },
		"large own": func(m *Manifest) { m.Meta = json.RawMessage(`"` + strings.Repeat("x", maxMeta) + `"`) },
		"no key":    func(m *Manifest) { m.Sealed = true },
	} {
		m := someManifest()
		change(&m)
		if _, err := formatManifest(m, bytes.Repeat([]byte{1}, keySize), nil); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	if _, err := formatManifest(someManifest(), []byte("short"), nil); err == nil {
		t.Error("a short key was accepted")
	}
	if _, err := validMeta([]byte("no json")); err == nil {
		t.Error("what is not JSON was accepted")
	}
}

func FuzzManifest(f *testing.F) {
	agentKey := bytes.Repeat([]byte{1}, keySize)
	data, err := formatManifest(someManifest(), agentKey, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"image":{"version":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, sm, err := parseManifest(data)
		if err != nil {
			return
		}
		_, _ = sm.open(m, agentKey)
		m.Sealed = false
		again, err := formatManifest(m, agentKey, nil)
		if err != nil {
			if len(data) < 1000 {
				t.Fatal(err)
			}
			return // grew over the limit
		}
		back, sm, err := parseManifest(again)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sm.open(back, agentKey); err != nil {
			t.Fatal(err)
		}
	})
}
