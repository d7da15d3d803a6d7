package otel

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

// hostile has one string everywhere.
func hostile(s string) calllog.Call {
	c := aCall()
	c.Agent, c.Trigger, c.Provider, c.Model, c.Asked, c.Endpoint, c.Error, c.Cache, c.Usage.Model = s, s, s, s, s, s, s, s, s
	c.Key, c.Event, c.Guards, c.Status = s, s, []string{s}, 500
	return c
}

// One call must not spoil the batch that it is in, nor be larger than its strings may
// be: nine of 128 bytes, where each byte may have become three.
func TestHostileStrings(t *testing.T) {
	for name, s := range map[string]string{
		"no UTF-8":      "\xff\xfe\x80",
		"half a letter": strings.Repeat("a", maxName-1) + "é",
		"control":       "a\x00b\r\nc\x1b[2J",
		"direction":     "abc\u202egnp",
		"long":          strings.Repeat("x", 1<<20),
		"long no UTF-8": strings.Repeat("\xff", 1<<20),
		"one letter":    strings.Repeat("\u0301", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			e := begin(t, Options{Endpoint: c.URL, Service: s, Version: s}, newWaits())
			e.Add(aCall())
			e.Add(hostile(s))
			closeWell(t, e)
			spans := c.spans()
			if len(spans) != 2 || spans[0].Name != "chat claude-sonnet-4-5" {
				t.Fatalf("spans %v", spans)
			}
			if n := proto.Size(spans[1]); n > 4<<10 {
				t.Errorf("the span has %d bytes", n)
			}
			for key, v := range attributes(spans[1].Attributes) {
				text, ok := v.(string)
				if ok && (!utf8.ValidString(text) || len(text) > maxName || strings.ContainsAny(text, "\x00\r\n\x1b\u202e")) {
					t.Errorf("%s is %q", key, text)
				}
			}
			if got := attributes(spans[1].Attributes)["moltworker.trigger"]; got != other {
				t.Errorf("trigger %v", got)
			}
		})
	}
}

func FuzzTell(f *testing.F) {
	f.Add("claude", "/v1/messages", int64(1), 200)
	f.Add("\xff\u202e", "/models/x:generateContent", int64(-1), -1)
	f.Add("", "", int64(1<<62), 999)
	from := resourceOf(Options{Service: "moltworker"})
	f.Fuzz(func(t *testing.T, s, path string, n int64, code int) {
		c := hostile(s)
		c.Endpoint, c.Status, c.Attempts, c.Took, c.FirstByte = path, code, int(n), time.Duration(n), time.Duration(n)
		c.Usage.Input, c.Usage.CacheRead, c.Usage.Output, c.Usage.Reasoning = n, n, n, n
		sums, err := newSums(from, s)
		if err != nil {
			t.Fatal(err)
		}
		call := tell(&c, time.Now)
		sums.add(&call)
		if call.input < 0 || call.output < 0 || call.thought > call.output || call.took < 0 {
			t.Errorf("told %+v", call)
		}
		if _, err := pack(newSpans(from, s).message([]told{call})); err != nil {
			t.Errorf("spans: %v", err)
		}
		m, err := sums.message(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pack(m); err != nil {
			t.Errorf("sums: %v", err)
		}
	})
}

func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		answer []byte
		want   int64
	}{
		"nothing":     {nil, 0},
		"three":       {partial(3), 3},
		"less than 0": {partial(-1), 0},
		"JSON":        {[]byte(`{"partialSuccess":{"rejectedSpans":"3"}}`), 0},
		"cut":         {partial(300)[:4], 0},
		"page":        {[]byte("<html>"), 0},
		"other field": {[]byte{0x10, 0x05}, 0}, // field 2, 5
		"wrong type":  {[]byte{0x08, 0x05}, 0}, // field 1 is the number itself
	} {
		if got := refusedOf(tc.answer); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func FuzzRefused(f *testing.F) {
	f.Add(partial(3))
	f.Add([]byte("\x0a\xff\xff\xff\xff\x0f"))
	f.Add([]byte{0x0b, 0x0b, 0x0b}) // groups within groups
	f.Fuzz(func(t *testing.T, answer []byte) {
		if refusedOf(answer) < 0 {
			t.Error("less than nothing was refused")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for s, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "31": maxWait, "2147483647": maxWait, "99999999999999999999": 0,
		"-1": 0, "1.5": 0, "Wed, 21 Oct 2015 07:28:00 GMT": 0} {
		if got := retryAfter(s); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for raw, want := range map[string]string{ // "": must be refused
		"http://127.0.0.1:4318":          "http://127.0.0.1:4318/v1/traces",
		"http://[::1]:4318/":             "http://[::1]:4318/v1/traces",
		"http://10.1.2.3:4318/otlp//":    "http://10.1.2.3:4318/otlp/v1/traces",
		"http://localhost:4318":          "http://localhost:4318/v1/traces",
		"http://collector:4318":          "http://collector:4318/v1/traces",
		"http://otel.internal":           "http://otel.internal/v1/traces",
		"https://otlp.example.com/a%2Fb": "https://otlp.example.com/a%2Fb/v1/traces",
		"HTTPS://otlp.example.com":       "https://otlp.example.com/v1/traces",
		"http://otlp.example.com":        "",
		"http://8.8.8.8":                 "",
		"http://0x7f000001":              "",
		"http://2130706433":              "",
		"http://127.0.0.1.example.com":   "",
		"https://u:SECRET@example.com":   "",
		"https://example.com?k=SECRET":   "",
		"https://example.com#SECRET":     "",
		"ftp://127.0.0.1/SECRET":         "",
		"127.0.0.1:4318":                 "",
		"localhost:4318":                 "",
		"SECRET":                         "",
		"http://":                        "",
		"http://[SECRET":                 "",
		"":                               "",
	} {
		p, err := newPoster(raw, nil, "")
		switch {
		case err != nil && (want != "" || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), endpointName)):
			t.Errorf("%q: %v", raw, err)
		case err == nil && (p.traces != want || p.metrics != strings.Replace(want, "/traces", "/metrics", 1)):
			t.Errorf("%q: %s and %s", raw, p.traces, p.metrics)
		}
	}
}

func TestHeaders(t *testing.T) {
	many := make(map[string]string)
	for i := range maxHeaders + 1 {
		many["x-"+strings.Repeat("a", i)] = ""
	}
	for name, headers := range map[string]map[string]string{
		"name with a space": {"x SECRET": ""},
		"no name":           {"": "SECRET"},
		"line in a value":   {"authorization": "SECRET\r\nX-Other: 1"},
		"long value":        {"authorization": strings.Repeat("SECRET", maxHeaderBytes)},
		"not theirs":        {"content-type": "SECRET"},
		"host":              {"HOST": "SECRET"},
		"too many":          many,
	} {
		_, err := New(t.Context(), Options{Endpoint: "http://127.0.0.1:4318", Headers: headers})
		if err == nil || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), headersName) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := New(t.Context(), Options{Endpoint: "http://127.0.0.1:4318", Headers: map[string]string{"api-key": "a=b, c", "x-t": "\tä"}})
	if err != nil {
		t.Fatal(err)
	}
	closeWell(t, e)
}

func FuzzEndpoint(f *testing.F) {
	for _, s := range []string{"http://127.0.0.1:4318", "https://a/b%2f", "http://a:b", "http://[::1%25lo]:1", "http://\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseEndpoint(raw)
		if err == nil && (u.User != nil || u.RawQuery != "" || u.Hostname() == "" || u.Scheme != "https" && !isNear(u.Hostname())) {
			t.Errorf("%q is let through as %v", raw, u)
		}
	})
}
