package config

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("x", 60_000)
	for name, c := range map[string]struct {
		in, want string // want is the value of CDP_SECRET
	}{
		"bare":               {"CDP_SECRET=abc", "abc"},
		"blanks":             {"  CDP_SECRET = a b  \n", "a b"},
		"export":             {"export CDP_SECRET=abc\n", "abc"},
		"comment line":       {"# CDP_SECRET=no\nCDP_SECRET=abc\n   # more\n", "abc"},
		"comment behind":     {"CDP_SECRET=abc # it's so\n", "abc"},
		"single quotes":      {`CDP_SECRET='a#b"\n $X'`, `a#b"\n $X`},
		"double quotes":      {`CDP_SECRET="a#b' \n\t\"\\ \u00fc \ud83d\ude00"`, "a#b' \n\t\"\\ ü 😀"},
		"quote, comment":     {`CDP_SECRET="abc" # more`, "abc"},
		"Windows":            {"CDP_SECRET=abc\r\nDEV_MODE=true\r\n", "abc"},
		"byte order mark":    {"\ufeffCDP_SECRET=abc\n", "abc"},
		"equals signs":       {"CDP_SECRET=a=b==\n", "a=b=="},
		"empty":              {"CDP_SECRET=\n", ""},
		"empty with comment": {"CDP_SECRET= # nothing\n", ""},
		"no text":            {"", ""},
		"long":               {"CDP_SECRET=" + long, long},
	} {
		var p Problems
		got := parse([]byte(c.in), "f", &p)["CDP_SECRET"].value.Reveal()
		if len(p) > 0 || got != c.want {
			t.Errorf("%s: %.40q, %v; want %.40q", name, got, p, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"CDP_SECRET":                              "f:1: the line has no =: write NAME=value",
		"\n\n=hunter22":                           "f:3: the line cannot be read (empty key)",
		"CDP_SECRET=hunter#22":                    "f:1: a # within the value would begin a comment",
		"CDP_SECRET=#hunter22":                    "f:1: a # within the value would begin a comment",
		"CDP_SECRET='hunter22":                    "f:1: a quote is not closed on this line",
		"CDP_SECRET=\"hunter22":                   "f:1: a quote is not closed on this line",
		"CDP_SECRET=\"hunter22\\":                 "f:1: the line cannot be read (incomplete escape sequence)",
		"CDP_SECRET=\"hunter22\\q\"":              "f:1: the line cannot be read (invalid escape sequence",
		"CDP_SECRET=hunter\x0022":                 "f:1: the line cannot be read (0x00 is an invalid value character)",
		"CDP_SECRET=hunter\xff":                   "f:1: the line is not UTF-8 text",
		"hunter22-hunter22=x":                     "f:1: the line cannot be read (key characters must be",
		"aHVudGVyMjI=":                            "f:1: what stands before the = is no name",
		strings.Repeat("HUNTER", 20) + "=x":       "f:1: what stands before the = is no name",
		"DEV_MODE=true\nDEV_MODE=false":           "DEV_MODE (f:2): it is set already at f:1: remove one of the two",
		"anthropic_api_key=hunter22":              "anthropic_api_key (f:1): moltworker knows no such name, did you mean ANTHROPIC_API_KEY?",
		"SLEEP=1":                                 "SLEEP (f:1): moltworker knows no such name: remove it",
		"CDP_SECRET=" + strings.Repeat("x", 70e3): "f:1: the line has more than 65535 bytes",
	} {
		var p Problems
		parse([]byte(in), "f", &p)
		if len(p) != 1 || !strings.HasPrefix(p[0].String(), want) {
			t.Errorf("%.40q: %v, want %q", in, p, want)
		}
		if strings.Contains(strings.ToLower(p.Error()), "hunter") {
			t.Errorf("%.40q: the error quotes it: %v", in, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"CDP_SECRET=abc", "export CDP_SECRET='a' # b\r\n", `CDP_SECRET="\u00fc\ud83d\ude00\ud83d"`, "DEV_MODE=true\nDEV_MODE=1",
		"\ufeffMOLTWORKER_MEMORY=1.5GiB", "MOLTWORKER_TRUSTED_PROXIES=10.0.0.0/8,::1", "MOLTWORKER_AGENTS=a,b,", "ANTHROPIC_BASE_URL=https://[::1]:1/x",
		`A="\`, "A=#", "a=b=c#d", "SANDBOX_SLEEP_AFTER=1h", "MOLTWORKER_CPUS=.5", "WORKER_URL=http://%41/", "MOLTWORKER_LISTEN=[::1%25x]:1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Problems
		found := parse(data, "f", &p)
		c := defaults(Process{Environ: []string{"HOME=/nowhere"}}, &p)
		c.apply(merge(found), &p)
		c.check(&p)
		for _, one := range p {
			if text := one.String(); strings.ContainsAny(text, "\n\r\x00\x1b") || len(text) > 600 {
				t.Errorf("the problem is not one clean sentence: %q", text)
			}
		}
		for name, s := range found {
			if k := lookup(name); k == nil {
				t.Errorf("the unknown name %q was taken", name)
			} else if v := s.value.Reveal(); k.Secret && len(v) > 20 && strings.Contains(p.Error(), v) {
				t.Errorf("the value of %s is quoted: %v", name, p)
			}
		}
	})
}

func FuzzListen(f *testing.F) {
	for _, s := range []string{"127.0.0.1:8787", "[::1]:0", ":1", "localhost:65535", "[fe80::1%eth0]:80", "::1:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		var c Config
		if listen(&c, v) != nil {
			return
		}
		first := c.Listen
		if err := listen(&c, first); err != nil || c.Listen != first {
			t.Errorf("%q became %q, which becomes %q, %v", v, first, c.Listen, err)
		}
	})
}
