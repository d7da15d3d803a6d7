package page

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"github.com/moltworker/moltworker/internal/access"
)

// Flash is what an action has to say on the page that is shown after it.
type Flash struct {
	Bad    bool   // it failed
	Text   string // one sentence
	Remedy string // what to do about it; `code` in backquotes
}

const flashCookie = "moltworker_said"

// maxFlash bounds the text that fits a cookie, in bytes.
const maxFlash = 900

// flashKey signs messages: what runs in an agent may set cookies on our host, and
// must not be able to put words into our mouth. A restart forgets messages.
var flashKey = sync.OnceValue(func() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
})

// Back ends an action: it sends the browser to the page at path (303), which will
// show f. path must be ours, not something of the request's.
func Back(w http.ResponseWriter, r *http.Request, path string, f Flash) {
	f.Text, f.Remedy = cut(f.Text), cut(f.Remedy)
	if body, err := json.Marshal(f); err == nil && f.Text != "" {
		said := base64.RawURLEncoding.EncodeToString(body)
		setFlash(w, r, said+"."+sign(r, said), 60)
	}
	Guard(w.Header())
	http.Redirect(w, r, path, http.StatusSeeOther)
}

// takeFlash reads the message and removes it, so that it is shown once.
func takeFlash(w http.ResponseWriter, r *http.Request) *Flash {
	c, err := r.Cookie(flashCookie)
	if err != nil {
		return nil
	}
	setFlash(w, r, "", -1)
	said, mac, _ := strings.Cut(c.Value, ".")
	if !hmac.Equal([]byte(mac), []byte(sign(r, said))) {
		return nil
	}
	var f Flash
	body, err := base64.RawURLEncoding.DecodeString(said)
	if err != nil || json.Unmarshal(body, &f) != nil {
		return nil
	}
	return &f
}

func setFlash(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: flashCookie, Value: value, Path: "/_admin/", MaxAge: seconds,
		HttpOnly: true, Secure: access.At(r.Context()).Secure, SameSite: http.SameSiteStrictMode,
	})
}

// sign binds a message to who is told it.
func sign(r *http.Request, said string) string {
	who := access.From(r.Context())
	mac := hmac.New(sha256.New, flashKey())
	mac.Write([]byte(who.String() + "\x00" + who.Session + "\x00" + said))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func cut(text string) string {
	if len(text) > maxFlash {
		text = strings.ToValidUTF8(text[:maxFlash], "") + "…"
	}
	return text
}
