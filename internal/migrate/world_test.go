package migrate

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/moltworker/moltworker/internal/openclaw"
)

var then = time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)

// Secrets of the agents in these tests. None may be seen in what is written.
const (
	anthropicKey  = "sk-ant-api03-AAbbCCddEEffGGhhIIjjKKllMMnnOOpp0123456789"
	anthropicTwo  = "sk-ant-api03-ZZyyXXwwVVuuTTssRRqqPPooNNmmLLkk9876543210"
	openaiKey     = "sk-proj-Abc123Def456Ghi789Jkl012Mno345"
	telegramToken = "1234567890:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw7"
	discordToken  = "MTE5ODc2NTQzMjEwOTg3NjU0.GaBcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"
	slackBot      = "xoxb-111111111111-222222222222-abcdefghijklmnopqrstuvwx"
	slackApp      = "xapp-1-A0123456789-1234567890123-abcdef0123456789"
	gatewayToken  = "a-gateway-token-of-no-shape"
	githubToken   = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	wordPassword  = "correct \"horse\" battery staple"
	refreshToken  = "refresh-me-0123456789-of-no-shape"
)

var allSecrets = []string{anthropicKey, anthropicTwo, openaiKey, telegramToken, discordToken, slackBot, slackApp, gatewayToken, githubToken, wordPassword, refreshToken}

// packed is one entry of a test's archive.
type packed struct {
	name, text string
	kind       byte // tar.TypeReg when 0
	link       string
	mode       int64
}

func file(name, text string) packed { return packed{name: name, text: text} }

func tarOf(t testing.TB, entries ...packed) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o644, ModTime: then, Size: int64(len(e.text))}
		if e.mode != 0 {
			h.Mode = e.mode
		}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstded(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func saved(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// laid writes a tree of files.
func laid(t testing.TB, files map[string]string) string {
	t.Helper()
	top := t.TempDir()
	for name, text := range files {
		full := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// brought is an import that went well.
type brought struct {
	dir     string
	bundle  *Bundle
	report  Report
	config  map[string]any
	secrets map[string]string
}

func bring(t testing.TB, b *Bundle, err error) brought {
	t.Helper()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer b.Close()
	b.opts.sync = noSync // it would wait for everybody's files
	dir := filepath.Join(t.TempDir(), "home")
	r, err := b.Write(t.Context(), dir)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	got := brought{dir: dir, bundle: b, report: r, secrets: map[string]string{}}
	for _, s := range b.Secrets() {
		got.secrets[s.Name] = s.Value.Reveal()
	}
	if text, err := os.ReadFile(filepath.Join(dir, ".openclaw/openclaw.json")); err == nil {
		if got.config, err = openclaw.Values(text); err != nil {
			t.Fatalf("the new configuration: %v\n%s", err, text)
		}
		// The host can add its part to it.
		if _, _, err := openclaw.Merge(text, nil, openclaw.Settings{Token: "x", Providers: openclaw.Providers(true, true)}); err != nil {
			t.Errorf("the host cannot render its part: %v", err)
		}
	}
	got.mustBeClean(t)
	if leftovers, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*partial*")); len(leftovers) > 0 {
		t.Errorf("left behind: %q", leftovers)
	}
	return got
}

// mustBeClean looks for secrets in everything that others see.
func (b brought) mustBeClean(t testing.TB) {
	t.Helper()
	asJSON, err := json.Marshal(b.report)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string][]byte{"the report as JSON": asJSON, "the report": []byte(b.report.String())}
	for name, text := range b.files(t) {
		seen[name] = []byte(text)
	}
	for where, text := range seen {
		for _, s := range allSecrets {
			quoted, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte(s)) || bytes.Contains(text, quoted[1:len(quoted)-1]) {
				t.Errorf("%s shows %q", where, s)
			}
		}
	}
}

// files are the regular files of the home.
func (b brought) files(t testing.TB) map[string]string { return filesIn(t, b.dir) }

func filesIn(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			text, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, full)
			if err != nil {
				return err
			}
			found[rel] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (b brought) mustHave(t testing.TB, files map[string]string) {
	t.Helper()
	have := b.files(t)
	for name, want := range files {
		if got, ok := have[name]; !ok || got != want {
			t.Errorf("%s = %q, %t; want %q\nthere are %q\n%s", name, got, ok, want, keysOf(have), b.report)
		}
	}
}

func (b brought) mustNotHave(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(b.dir, name)); err == nil {
			t.Errorf("%s was brought\n%s", name, b.report)
		}
	}
}

func (b brought) mustWarn(t testing.TB, words ...string) {
	t.Helper()
	for _, w := range words {
		if !slices.ContainsFunc(b.report.Warnings, func(s string) bool { return strings.Contains(s, w) }) {
			t.Errorf("no warning has %q:\n%s", w, strings.Join(b.report.Warnings, "\n"))
		}
	}
}

func keysOf(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func open(t testing.TB, data []byte) (*Bundle, error) {
	t.Helper()
	return Open(t.Context(), saved(t, data), Options{})
}
