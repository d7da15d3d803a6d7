package provider

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// accountJSON is a service account's file as Google writes it, with a token_uri that
// must not count.
func accountJSON(t *testing.T, key string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "acct-project", "private_key_id": "kid1", "private_key": key,
		"client_email": "agent@acct-project.iam.gserviceaccount.com", "token_uri": "https://evil.example/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pkcs8(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

// tokenServer stands for Google's. Every token has the number of its request.
type tokenServer struct {
	calls  atomic.Int64
	answer func(w http.ResponseWriter, form url.Values, n int64)
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.calls.Add(1)
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	form, _ := url.ParseQuery(string(body))
	s.answer(w, form, n)
}

func grant(w http.ResponseWriter, _ url.Values, n int64) {
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "ya29.t" + string(rune('0'+n)), "expires_in": 3600, "token_type": "Bearer"})
}

const vertexPath = "/google-vertex-ai/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro:generateContent"

func signVertex(ctx context.Context, s *Signer, accountFile string) (*http.Request, Credential, error) {
	get := settings(googleAccountName, accountFile)
	p, rest, _ := Cut(vertexPath)
	ep, _ := p.Match(post, rest)
	pl, err := p.Place(get)
	if err != nil {
		return nil, Credential{}, err
	}
	u, err := pl.URL(ep, "")
	if err != nil {
		return nil, Credential{}, err
	}
	creds, err := pl.Credentials(get)
	if err != nil {
		return nil, Credential{}, err
	}
	req := (&http.Request{Method: post, URL: u, Header: http.Header{}}).WithContext(ctx)
	return req, creds[0], s.Sign(req, ep, creds[0], nil)
}

func TestServiceAccount(t *testing.T) {
	now := at2015()
	var forms []url.Values
	ts := &tokenServer{answer: func(w http.ResponseWriter, form url.Values, n int64) { forms = append(forms, form); grant(w, form, n) }}
	srv := httptest.NewServer(ts)
	defer srv.Close()
	s := &Signer{Now: func() time.Time { return now }, TokenURL: srv.URL + "/token"}
	file := accountJSON(t, pkcs8(t, testKey()))

	use := func(want string) {
		t.Helper()
		req, c, err := signVertex(t.Context(), s, file)
		if err != nil {
			t.Fatal(err)
		}
		if got := req.Header.Get("Authorization"); got != "Bearer "+want {
			t.Fatalf("authorization %q, want %q", got, want)
		}
		if got := s.Secrets(c); len(got) != 1 || got[0] != want {
			t.Errorf("secrets %q", got)
		}
	}
	use("ya29.t1")
	now = now.Add(58 * time.Minute) // 60 minutes less the last one is 59
	use("ya29.t1")
	now = now.Add(time.Minute)
	use("ya29.t2")
	if got := ts.calls.Load(); got != 2 {
		t.Errorf("%d tokens were asked for", got)
	}
	checkAssertion(t, forms[0], srv.URL+"/token")
}

// checkAssertion verifies what was signed at 2015-08-30T12:36:00Z, which is 1440938160.
func checkAssertion(t *testing.T, form url.Values, audience string) {
	t.Helper()
	if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		t.Errorf("grant %q", form.Get("grant_type"))
	}
	parts := strings.Split(form.Get("assertion"), ".")
	if len(parts) != 3 {
		t.Fatalf("assertion %q", form.Get("assertion"))
	}
	var decoded [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			t.Fatal(err)
		}
		decoded[i] = b
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&testKey().PublicKey, crypto.SHA256, sum[:], decoded[2]); err != nil {
		t.Error(err)
	}
	if got := string(decoded[0]); got != `{"alg":"RS256","kid":"kid1","typ":"JWT"}` {
		t.Errorf("header %s", got)
	}
	want := `{"aud":"` + audience + `","exp":1440941750,"iat":1440938150,"iss":"agent@acct-project.iam.gserviceaccount.com","scope":"https://www.googleapis.com/auth/cloud-platform"}`
	if got := string(decoded[1]); got != want {
		t.Errorf("claims %s, want %s", got, want)
	}
}

// Whatever the file says, the assertion goes to Google.
func TestTokenURLOfTheFileDoesNotCount(t *testing.T) {
	var asked string
	s := &Signer{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = r.URL.String()
		return nil, errors.New("no network: " + r.URL.String())
	})}
	_, _, err := signVertex(t.Context(), s, accountJSON(t, pkcs8(t, testKey())))
	if err == nil || asked != "https://oauth2.googleapis.com/token" {
		t.Errorf("asked %q, %v", asked, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Many calls at once ask once.
func TestOneFlight(t *testing.T) {
	const calls = 20
	arrived, release := make(chan struct{}), make(chan struct{})
	ts := &tokenServer{answer: func(w http.ResponseWriter, form url.Values, n int64) {
		close(arrived) // panics if there is a second one
		<-release
		grant(w, form, n)
	}}
	srv := httptest.NewServer(ts)
	defer srv.Close()
	s := &Signer{Now: at2015, TokenURL: srv.URL}
	file := accountJSON(t, pkcs8(t, testKey()))

	// The call that began it goes away; the others get its token.
	first, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { _, _, err := signVertex(first, s, file); gone <- err }()
	<-arrived
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	errs := make(chan error, calls)
	for range calls {
		go func() { _, _, err := signVertex(t.Context(), s, file); errs <- err }()
	}
	close(release)
	for range calls {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := ts.calls.Load(); got != 1 {
		t.Errorf("%d requests", got)
	}
}

func TestBadTokenServers(t *testing.T) {
	const secret = "ya29.secret-in-the-answer"
	answers := map[string]func(w http.ResponseWriter){
		"refused": func(w http.ResponseWriter) {
			w.WriteHeader(400)
			io.WriteString(w, `{"error":"invalid_grant","error_description":"`+secret+`"}`)
		},
		"html":     func(w http.ResponseWriter) { io.WriteString(w, "<p>"+secret) },
		"no token": func(w http.ResponseWriter) { io.WriteString(w, `{"expires_in":3600,"x":"`+secret+`"}`) },
		"a bad one": func(w http.ResponseWriter) {
			io.WriteString(w, `{"access_token":"`+secret+`\r\nX: 1","expires_in":3600}`)
		},
		"other type": func(w http.ResponseWriter) { io.WriteString(w, `{"access_token":"`+secret+`","token_type":"mac"}`) },
		"redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://evil.example/"+secret)
			w.WriteHeader(307)
		},
		"endless":   func(w http.ResponseWriter) { io.WriteString(w, `{"access_token":"`+secret+strings.Repeat("x", 1<<20)) },
		"odd error": func(w http.ResponseWriter) { w.WriteHeader(500); io.WriteString(w, `{"error":"`+secret+`"}`) },
		"broken off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, secret)
			panic(http.ErrAbortHandler)
		},
	}
	file := accountJSON(t, pkcs8(t, testKey()))
	for name, answer := range answers {
		ts := &tokenServer{answer: func(w http.ResponseWriter, _ url.Values, n int64) {
			if n == 1 {
				answer(w)
				return
			}
			grant(w, nil, n)
		}}
		srv := httptest.NewServer(ts)
		s := &Signer{Now: at2015, TokenURL: srv.URL}
		req, _, err := signVertex(t.Context(), s, file)
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), googleAccountName) || req.Header.Get("Authorization") != "" {
			t.Errorf("%s: %v", name, err)
		}
		if name == "refused" && !strings.Contains(err.Error(), "invalid_grant") {
			t.Errorf("%s: %v does not say why", name, err)
		}
		if req, _, err := signVertex(t.Context(), s, file); err != nil || req.Header.Get("Authorization") != "Bearer ya29.t2" {
			t.Errorf("%s: no token afterwards: %v", name, err)
		}
		srv.Close()
	}
}

// A token that lives for no time is used once and not kept.
func TestShortTokens(t *testing.T) {
	for _, seconds := range []string{"0", "-5", "60", "1e3", "9223372036854775807"} {
		tok, err := parseToken(200, []byte(`{"access_token":"t","expires_in":`+seconds+`}`), at2015())
		if seconds == "1e3" { // no integer
			if err == nil {
				t.Errorf("%s: %v", seconds, tok.until)
			}
			continue
		}
		// An hour less a minute at most: 12:36 and 59 minutes.
		if err != nil || tok.until.After(at2015().Add(59*time.Minute)) || tok.until.After(at2015()) != (seconds[0] == '9') {
			t.Errorf("%s: until %v, %v", seconds, tok.until, err)
		}
	}
}

func TestBadAccounts(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const secret = "secret-in-the-file"
	files := map[string]string{
		"a path":    "/home/" + secret + ".json",
		"no email":  `{"private_key":"` + secret + `"}`,
		"no PEM":    accountJSON(t, secret),
		"no DER":    accountJSON(t, pemOf("PRIVATE KEY", []byte(secret))),
		"small key": accountJSON(t, pkcs8(t, small)),
		"EC key":    accountJSON(t, pkcs8(t, ec)),
		"too long":  accountJSON(t, strings.Repeat("x", maxAccount)),
	}
	s := &Signer{Now: at2015, Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("Google is asked")
		return nil, errors.New("no network")
	})}
	for name, file := range files {
		_, _, err := signVertex(t.Context(), s, file)
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), googleAccountName) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPKCS1(t *testing.T) {
	srv := httptest.NewServer(&tokenServer{answer: grant})
	defer srv.Close()
	s := &Signer{Now: at2015, TokenURL: srv.URL}
	file := accountJSON(t, pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testKey())))
	if _, _, err := signVertex(t.Context(), s, file); err != nil {
		t.Error(err)
	}
}

func FuzzAccount(f *testing.F) {
	f.Add(`{"client_email":"a@b","private_key":"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"}`, `{"access_token":"t","expires_in":1}`)
	f.Add("[]", `{"error":"invalid_grant"}`)
	f.Fuzz(func(t *testing.T, file, answer string) {
		c := newCredential(googleAccountName, &secrets{style: serviceAccount, key: file})
		if a, err := assertionOf(c, googleTokenURL, at2015()); err == nil && strings.Count(a, ".") != 2 {
			t.Fatalf("assertion %q", a)
		}
		for _, status := range []int{200, 400} {
			if tok, err := parseToken(status, []byte(answer), at2015()); err == nil && (checkKey("", tok.value) != nil || tok.value == "" || tok.until.After(at2015().Add(time.Hour))) {
				t.Fatalf("%q gives %+v", answer, tok)
			}
		}
	})
}
