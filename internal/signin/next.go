package signin

import (
	"net/url"
	"strings"
)

const maxNext = 2048

// local is where to go after signing in: a path of our own, or the control plane's
// first page when next is anything else. What browsers take for another host
// ("//evil.example", "/\evil.example", "/<tab>/evil.example") is not a path of
// our own, and neither are the pages of signing in and out.
func local(next string) string {
	if len(next) > maxNext || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") {
		return home
	}
	for _, c := range []byte(next) {
		if c <= ' ' || c == '\\' || c >= 0x7f {
			return home
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return home
	}
	plain := strings.ToLower(u.Path)
	for _, c := range []byte(plain) {
		if c < ' ' || c == '\\' || c == 0x7f {
			return home
		}
	}
	for _, ours := range []string{Path, OutPath, linkPage("setup"), linkPage("invite"), linkPage("recover")} {
		if plain == ours || strings.HasPrefix(plain, ours+"/") {
			return home
		}
	}
	target := u.EscapedPath()
	if strings.HasPrefix(target, "//") || strings.Contains(plain, "//") || strings.Contains(plain, "/../") || strings.Contains(plain, "/./") || strings.HasSuffix(plain, "/..") {
		return home
	}
	if u.RawQuery != "" {
		target += "?" + u.RawQuery
	}
	return target
}
