package oidc

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/moltworker/moltworker/internal/access"
)

const (
	// flowLife is how long signing in at the provider may take.
	flowLife = 10 * time.Minute
	// maxFlows is how many sign-ins one browser may have under way; a further one
	// takes the oldest one's place.
	maxFlows    = 3
	flowCookie  = "moltworker_oidc_" // and the slot's number
	maxNext     = 1024
	maxRedirect = 1024
)

// flow is a sign-in under way. The browser keeps it, sealed.
type flow struct {
	State    string
	Nonce    string
	Verifier string // PKCE
	Next     string
	Redirect string
	Until    int64 // Unix time
}

// Start sends the browser to the provider. next is where it wants to be after
// that: a path of ours, anything else is forgotten. The error is a
// *access.Refusal, and nothing has been written then.
func (c *Client) Start(w http.ResponseWriter, r *http.Request, next string) error {
	p, refused := c.provider.get(r.Context())
	if refused != nil {
		return refused
	}
	back, err := url.Parse(c.RedirectURL(r))
	if err != nil || back.Scheme != "https" && back.Scheme != "http" || back.Host == "" || !strings.HasPrefix(back.Path, "/") || len(back.String()) > maxRedirect {
		return misconfigured("This moltworker does not know its own address", "Set WORKER_URL or MOLTWORKER_ADMIN_URL.", fmt.Sprintf("the address to come back to is %.200q", back))
	}
	f := flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: ownPath(next),
		Redirect: back.String(), Until: c.Now().Add(flowLife).Unix()}
	name := fmt.Sprint(flowCookie, c.slot.Add(1)%maxFlows)
	http.SetCookie(w, cookie(name, c.seal(name, f), back, int(flowLife/time.Second)))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	oauth := p.oauth
	oauth.RedirectURL = f.Redirect
	http.Redirect(w, r, oauth.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), http.StatusSeeOther)
	return nil
}

// cookie is the one of a flow: only the route that finishes flows gets it back.
// SameSite cannot be Strict, as it is another site that sends the browser back.
func cookie(name, value string, back *url.URL, seconds int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: back.EscapedPath(), MaxAge: seconds,
		Secure: back.Scheme == "https", HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// ownPath is next if it leads to a page of this host, else "".
func ownPath(next string) string {
	strange := func(r rune) bool { return r == '\\' || unicode.IsControl(r) || unicode.IsSpace(r) }
	if len(next) > maxNext || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, strange) {
		return ""
	}
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || strings.HasPrefix(u.Path, "//") || strings.ContainsRune(u.Path, '\\') {
		return ""
	}
	return next
}

func (c *Client) seal(name string, f flow) string {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and a number can be written
	}
	return base64.RawURLEncoding.EncodeToString(c.box.Seal(nil, nil, text, []byte(name)))
}

// open reads what seal made, of this process and for a cookie of that name.
func (c *Client) open(name, value string) (f flow, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return flow{}, false
	}
	text, err := c.box.Open(nil, nil, sealed, []byte(name))
	return f, err == nil && json.Unmarshal(text, &f) == nil
}

// take finds the flow that the browser comes back from, and ends it: its cookie
// is taken away whatever comes of it.
func (c *Client) take(w http.ResponseWriter, r *http.Request, state string) (flow, *access.Refusal) {
	for slot := range maxFlows {
		name := fmt.Sprint(flowCookie, slot)
		for i, held := range r.CookiesNamed(name) {
			if i == maxFlows {
				break
			}
			f, ok := c.open(name, held.Value)
			if !ok || subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 {
				continue
			}
			back, err := url.Parse(f.Redirect)
			if err != nil {
				return flow{}, stale("the flow's own address cannot be read")
			}
			http.SetCookie(w, cookie(name, "", back, -1))
			if c.Now().Unix() >= f.Until {
				return flow{}, stale("the flow has run out")
			}
			return f, nil
		}
	}
	return flow{}, stale("the browser keeps no flow with that state")
}
