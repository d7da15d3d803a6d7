package telemetry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
)

const key = `sk-"quoted\slash" <and> ünïcode+/=`

type valuer struct{ text string }

func (v valuer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("inner", v.text), slog.Any("err", errors.New(v.text)))
}

type nested struct {
	Name  string
	Deep  map[string][]any
	Bytes []byte
	Ptr   *string
}

type stringer struct{ Text string }

func (s stringer) String() string { return "I hold " + s.Text }

// records logs the secret in every way a caller may.
func records(log *slog.Logger, secret string) {
	log.Info("before " + secret + " after")
	log.Info("m", "attr", secret, "again", secret+secret)
	log.Info("m", secret, "as a key")
	log.Info("m", "err", fmt.Errorf("dial: %w", errors.New("bad key "+secret)))
	log.Info("m", "valuer", valuer{secret})
	log.Info("m", "any", nested{Name: secret, Deep: map[string][]any{secret: {secret, 1}}, Bytes: []byte(secret), Ptr: &secret})
	log.Info("m", "slice", []string{"a", secret}, "bytes", []byte("xx"+secret+"yy"), "raw", json.RawMessage(`"plain"`))
	log.Info("m", "stringer", stringer{secret})
	log.Info("m", "url", &url.URL{Scheme: "https", Host: "example.com", Path: "/" + secret, RawQuery: url.Values{"token": {secret}}.Encode()})
	log.Info("m", "hex", fmt.Sprintf("%x", secret), "goquoted", fmt.Sprintf("%q", secret))
	for shift := range 3 {
		text := strings.Repeat("-", shift) + secret + "tail"
		log.Info("m", "b64", base64.StdEncoding.EncodeToString([]byte(text)), "b64url", base64.RawURLEncoding.EncodeToString([]byte(text)))
	}
	asJSON, _ := json.Marshal(map[string]string{"k": secret})
	log.Info("m", "json in a string", string(asJSON))
	log.Info("m", slog.Group("g", slog.String("s", secret), slog.Group("h", slog.Any("a", []any{secret}))))
	log.With("bound", secret).WithGroup("grp").With("bound", secret).WarnContext(context.Background(), secret, "x", secret)
	log.WithGroup(secret).Info("m", "x", 1)
}

func TestNoLineContainsASecret(t *testing.T) {
	for _, secret := range []string{key, "0123456789abcdef", "plain-secret-of-the-agent", "  padded secret \n"} {
		for _, asJSON := range []bool{false, true} {
			t.Run(fmt.Sprintf("%q json=%t", secret, asJSON), func(t *testing.T) {
				var out bytes.Buffer
				r := NewRedactor()
				log := NewLogger(&out, Options{JSON: asJSON, Redactor: r})
				bound := log.With("early", secret) // made before the secret was known
				if !r.Register("API_KEY", secret) {
					t.Fatal("not registered")
				}
				records(log, secret)
				bound.Info("late")
				for line := range strings.Lines(out.String()) {
					if !strings.Contains(line, "[redacted:API_KEY]") {
						t.Errorf("nothing was redacted in %s", line)
					}
					if asJSON && !json.Valid([]byte(line)) {
						t.Errorf("not JSON any more: %s", line)
					}
					for _, form := range forms(secret) {
						if strings.Contains(line, form) {
							t.Errorf("%q is in %s", form, line)
						}
					}
				}
			})
		}
	}
}

func TestASecretOfDigitsDoesNotBreakJSON(t *testing.T) {
	var out bytes.Buffer
	r := NewRedactor()
	r.Register("PIN", "12345678")
	NewLogger(&out, Options{JSON: true, Redactor: r}).Info("m", "n", 9123456780)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || strings.Contains(out.String(), "12345678") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestRedactor(t *testing.T) {
	r := NewRedactor()
	if got := r.Redact("sk-short-and-long"); got != "sk-short-and-long" {
		t.Errorf("an empty redactor changed the text to %q", got)
	}
	if r.Register("SHORT", "seven77") {
		t.Error("a value of 7 bytes was registered")
	}
	r.Register("A", "sk-short")
	r.Register("B", "sk-short-and-long")
	r.Register("A", "rotated-value")
	r.Register("main/odd \"name\"", "another-value")
	for in, want := range map[string]string{
		"":                                "",
		"nothing here":                    "nothing here",
		"x sk-short y":                    "x [redacted:A] y",
		"sk-short-and-long":               "[redacted:B]",
		"sk-short-and-longsk-short":       "[redacted:B][redacted:A]",
		"rotated-value":                   "[redacted:A]",
		"seven77":                         "seven77",
		"another-value":                   "[redacted:main/odd__name_]",
		strings.Repeat("sk-short ", 1000): strings.Repeat("[redacted:A] ", 1000),
	} {
		if got := r.Redact(in); got != want {
			t.Errorf("Redact(%.40q) = %.80q, want %.80q", in, got, want)
		}
	}
}

func TestLevelAndForm(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	log := NewLogger(&out, Options{Level: &level, Redactor: NewRedactor()})
	log.Debug("quiet")
	level.Set(slog.LevelDebug)
	log.Debug("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `level=DEBUG msg=loud`) {
		t.Errorf("log = %s", got)
	}
}

func TestSecretsComeAndLinesGoAtOnce(t *testing.T) {
	r := NewRedactor()
	var mu sync.Mutex
	var out bytes.Buffer
	log := NewLogger(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(b)
	}), Options{Redactor: r})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				secret := fmt.Sprintf("secret-number-%d-%d-", i, j)
				r.Register("S", secret)
				log.Info("now", "s", secret)
			}
		})
	}
	wg.Wait()
	if strings.Contains(out.String(), "secret-number") || strings.Count(out.String(), "[redacted:S]") != 400 {
		t.Errorf("a secret was written, or a line lost")
	}
}

func BenchmarkLine(b *testing.B) {
	r := NewRedactor()
	for i := range 20 {
		r.Register("S", fmt.Sprintf("sk-ant-api03-%040d", i))
	}
	for name, red := range map[string]*Redactor{"without": NewRedactor(), "with20": r} {
		log := NewLogger(io.Discard, Options{Redactor: red})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				log.Info("request done", "agent", "main", "method", "GET", "path", "/api/status", "status", 200, "bytes", 1234)
			}
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
