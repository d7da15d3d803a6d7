package fakeoidc

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const back = "https://molt.example/callback"

// The right parameters, each of which the provider insists on.
func right() (authorize, token url.Values) {
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{"client_id": {"moltworker"}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"openid email"},
			"state": {"0123456789abcdef"}, "nonce": {"0123456789abcdef"}, "code_challenge_method": {"S256"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}},
		url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {back}, "code_verifier": {verifier}}
}

func get(t *testing.T, p *Provider, q url.Values) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Issuer+Authorize+"?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// buy is what the token endpoint says: an error, or "" for a token.
func buy(t *testing.T, p *Provider, form url.Values, secret string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Issuer+Token, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("moltworker", secret)
	resp, err := p.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error   string
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || (answer.Error == "") != (answer.IDToken != "") {
		t.Fatalf("%+v, %v", answer, err)
	}
	return answer.Error
}

func code(t *testing.T, resp *http.Response) url.Values {
	t.Helper()
	where, err := resp.Location()
	if err != nil {
		t.Fatalf("%v: %s", err, resp.Status)
	}
	return where.Query()
}

func TestTheProviderIsStrict(t *testing.T) {
	p := New("https://idp.example", back)
	for name, wrong := range map[string]string{"client_id": "x", "redirect_uri": back + "/"} {
		q, _ := right()
		if q.Set(name, wrong); get(t, p, q).StatusCode != http.StatusBadRequest {
			t.Errorf("%s is taken", name)
		}
	}
	for name, wrong := range map[string]string{"response_type": "token", "scope": "openid", "state": "x", "nonce": "", "code_challenge_method": "plain", "code_challenge": "x"} {
		q, _ := right()
		if q.Set(name, wrong); !code(t, get(t, p, q)).Has("error") {
			t.Errorf("%s is taken", name)
		}
	}
	for name, wrong := range map[string]string{"grant_type": "password", "redirect_uri": "https://evil.example", "code_verifier": "x", "code": "x", "secret": "x", "": ""} {
		q, form := right()
		form.Set("code", code(t, get(t, p, q)).Get("code"))
		secret := "hush"
		switch name {
		case "":
		case "secret":
			secret = wrong
		default:
			form.Set(name, wrong)
		}
		if err := buy(t, p, form, secret); (err == "") != (name == "") {
			t.Errorf("%q wrong: %q", name, err)
		}
		if name == "" && buy(t, p, form, secret) != "invalid_grant" {
			t.Error("a code counts twice")
		}
	}
}
