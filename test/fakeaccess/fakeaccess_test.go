package fakeaccess

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

func TestTheTeamIsStrict(t *testing.T) {
	team, server := Start()
	defer server.Close()
	for request, want := range map[string]int{
		"GET " + CertsPath:             200,
		"POST " + CertsPath:            405,
		"GET " + CertsPath + "?x=1":    404,
		"GET " + CertsPath + "/":       404,
		"GET /":                        404,
		"GET /.well-known/openid-conf": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", request, resp.Status, want)
		}
	}
	if team.Fetches() != 6 {
		t.Errorf("%d fetches", team.Fetches())
	}
}

func TestTokensAreSignedByTheKeysThatAreServed(t *testing.T) {
	team := New("https://t.cloudflareaccess.com")
	before := team.Token(team.Person("aud", "ann@example.com"))
	team.Rotate()
	after := team.Token(team.Service("aud", "x.access"))
	resp, err := (&http.Client{Transport: team}).Get(team.Issuer + CertsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%v, %d keys", err, len(set.Keys))
	}
	for _, token := range []string{before, after} {
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify(set.Key(jws.Signatures[0].Protected.KeyID)[0]); err != nil {
			t.Errorf("%v", err)
		}
	}
}
