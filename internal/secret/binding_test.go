package secret

import (
	"slices"
	"testing"
)

func TestBindingFor(t *testing.T) {
	for _, c := range []struct {
		name, baseURL string
		want          []string
	}{
		{"ANTHROPIC_API_KEY", "", []string{"api.anthropic.com"}},
		{"main/ANTHROPIC_API_KEY", "", []string{"api.anthropic.com"}},
		{"ANTHROPIC_API_KEY", "https://llm.example.com/v1/anthropic", []string{"llm.example.com"}},
		{"ANTHROPIC_API_KEY", "https://llm.example.com:8443/", []string{"llm.example.com:8443"}},
		{"OPENAI_API_KEY", "http://127.0.0.1/v1", []string{"127.0.0.1:80"}},
		{"OPENAI_API_KEY", "http://[::1]:9000/v1", []string{"[::1]:9000"}},
		{"MY_OWN", "", nil},
	} {
		got, err := BindingFor(c.name, c.baseURL)
		if err != nil || !slices.Equal(got.Hosts, c.want) {
			t.Errorf("BindingFor(%q, %q) = %q, %v; want %q", c.name, c.baseURL, got.Hosts, err, c.want)
		}
	}
	if b, err := BindingFor("X", "/only/a/path"); err == nil {
		t.Errorf("a base URL without host gave %v, want an error", b)
	}
}

func TestBindingAllows(t *testing.T) {
	b, err := NewBinding("API.Anthropic.com.", "localhost:8080", "::1", "[fe80::1]:80")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"api.anthropic.com":          true,
		"api.anthropic.com:443":      true,
		"API.ANTHROPIC.COM:443":      true,
		"api.anthropic.com:80":       false,
		"api.anthropic.com.evil.com": false,
		"evil-api.anthropic.com":     false,
		"anthropic.com":              false,
		"localhost":                  false,
		"localhost:8080":             true,
		"[::1]:443":                  true,
		"::1":                        true,
		"[::1]:80":                   false,
		"[fe80::1]:80":               true,
		"":                           false,
		"api.anthropic.com:0":        false,
		"user@api.anthropic.com":     false,
	} {
		if got := b.Allows(host); got != want {
			t.Errorf("Allows(%q) = %t, want %t", host, got, want)
		}
	}
	if (Binding{}).Allows("api.anthropic.com") {
		t.Error("the empty binding allows a host")
	}
}

func TestBindingRefusesWhatIsNoHost(t *testing.T) {
	for _, host := range []string{"", " ", "https://x", "a b", "x:99999", "x:0", "a/b", "*.example.com", "x\n"} {
		if b, err := NewBinding(host); err == nil {
			t.Errorf("NewBinding(%q) = %q, want an error", host, b.Hosts)
		}
	}
}

func FuzzBinding(f *testing.F) {
	for _, s := range []string{"api.anthropic.com", "[::1]:80", "x:443", "::ffff:1.2.3.4", "a..b", "[x]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		b, err := NewBinding(host)
		if err != nil {
			return
		}
		again, err := NewBinding(b.Hosts...)
		if err != nil || !slices.Equal(again.Hosts, b.Hosts) {
			t.Errorf("%q became %q, which becomes %q, %v", host, b.Hosts, again.Hosts, err)
		}
		if !b.Allows(host) || !b.Allows(b.Hosts[0]) {
			t.Errorf("%q is not allowed by its own binding %q", host, b.Hosts)
		}
	})
}
