package access

import (
	"net/http"
	"strings"
	"time"
)

// Names of the cookie. Over TLS it carries the __Host- prefix, by which browsers
// promise that it was set by this very host, for all of it, over TLS.
const (
	cookieName       = "moltworker"
	secureCookieName = "__Host-moltworker"
)

const cookieLife = 30 * 24 * time.Hour

// maxCookies bounds how many cookies of our name one request may try.
const maxCookies = 4

// Grant gives the browser the cookie that stands for the agent's token. secure
// says that the browser reached us over TLS.
//
// SameSite is Lax, not Strict: with Strict, a link to the agent opened from a
// chat or a mail arrives without the cookie and its owner is told to sign in
// again. Lax still keeps the cookie out of requests other than such navigations,
// and edge refuses state-changing requests of other origins besides.
func (t *Tokens) Grant(w http.ResponseWriter, agent string, secure bool) {
	name := cookieName
	if secure {
		name = secureCookieName
	}
	http.SetCookie(w, &http.Cookie{
		Name:     name,
		Value:    cookieValue(t.token(agent), agent),
		Path:     "/",
		MaxAge:   int(cookieLife / time.Second),
		Secure:   secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// cookieMatches looks at all cookies of our names: a stale one beside the right
// one (set by a page of a sibling host, say) must not lock its owner out.
func (t *Tokens) cookieMatches(r *http.Request, token, agent string) bool {
	want, tried := cookieValue(token, agent), 0
	for _, c := range r.Cookies() {
		if !isToken(c.Name) {
			continue
		}
		if tried++; tried > maxCookies {
			return false
		}
		if equal(c.Value, want) {
			return true
		}
	}
	return false
}

func hasCookie(r *http.Request) bool {
	for _, c := range r.Cookies() {
		if isToken(c.Name) {
			return true
		}
	}
	return false
}

// isToken says whether a cookie of that name stands for a gateway token.
func isToken(name string) bool { return name == cookieName || name == secureCookieName }

// isOurs says whether a cookie of that name is moltworker's or that of the sign-in
// in front of it, and so none of the guest's business.
func isOurs(name string) bool {
	rest, ours := strings.CutPrefix(strings.TrimPrefix(name, "__Host-"), cookieName)
	return ours && (rest == "" || rest[0] == '-' || rest[0] == '_') || name == AccessCookie
}

// AccessCookie is the cookie of Cloudflare Access.
const AccessCookie = "CF_Authorization"

// stripCookies takes our cookies out of Cookie headers and leaves the others as
// they were, byte for byte.
func stripCookies(h http.Header) {
	lines := h["Cookie"]
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		if line = withoutOurs(line); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h["Cookie"] = kept
}

func withoutOurs(line string) string {
	kept := make([]string, 0, 4)
	for part := range strings.SplitSeq(line, ";") {
		part = strings.TrimSpace(part)
		name, _, _ := strings.Cut(part, "=")
		if part != "" && !isOurs(strings.TrimSpace(name)) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "; ")
}

// StripSetCookie takes cookies of our names out of a gateway's answer: what runs
// in the sandbox may not sign its user out, or in.
func StripSetCookie(h http.Header) {
	lines := h["Set-Cookie"]
	kept := lines[:0:0]
	for _, line := range lines {
		name, _, _ := strings.Cut(line, "=")
		if !isOurs(strings.TrimSpace(name)) {
			kept = append(kept, line)
		}
	}
	if len(kept) == len(lines) {
		return
	}
	h["Set-Cookie"] = kept
}
