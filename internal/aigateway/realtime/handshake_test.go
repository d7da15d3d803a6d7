package realtime

import (
	"net/http"
	"strings"
	"testing"
)

const testKey = "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455, 1.3, with its answer
const testAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

func TestAcceptIsTheStandards(t *testing.T) {
	if got := Accept(testKey); got != testAccept {
		t.Fatal(got)
	}
}

func handshakeHeader(change func(http.Header)) http.Header {
	h := http.Header{"Upgrade": {"websocket"}, "Connection": {"keep-alive, Upgrade"}, versionField: {"13"}, keyField: {testKey}}
	change(h)
	return h
}

func TestHandshake(t *testing.T) {
	set := func(name string, values ...string) func(http.Header) {
		return func(h http.Header) { h[name] = values }
	}
	for _, tt := range []struct {
		name   string
		change func(http.Header)
		ok     bool
	}{
		{"good", func(http.Header) {}, true},
		{"other case", func(h http.Header) { h["Upgrade"], h["Connection"] = []string{"WebSocket"}, []string{"upgrade"} }, true},
		{"two lines", set("Connection", "keep-alive", "upgrade"), true},
		{"extensions are left to the answer", set(extensionsField, "permessage-deflate"), true},
		{"protocols", set(protocolField, "realtime, openai-insecure-api-key.sk-1", "b"), true},
		{"no upgrade", set("Upgrade"), false},
		{"another upgrade", set("Upgrade", "h2c"), false},
		{"no connection", set("Connection", "keep-alive"), false},
		{"part of a word", set("Connection", "upgraded"), false},
		{"no version", set(versionField), false},
		{"old version", set(versionField, "8"), false},
		{"two versions", set(versionField, "13", "13"), false},
		{"no key", set(keyField), false},
		{"two keys", set(keyField, testKey, testKey), false},
		{"short key", set(keyField, "c2hvcnQ="), false},
		{"17 bytes", set(keyField, "YWJjZGVmZ2hpamtsbW5vcHE="), false},
		{"no base64", set(keyField, strings.Repeat("!", 24)), false},
		{"bits behind the key", set(keyField, "dGhlIHNhbXBsZSBub25jZR=="), false},
		{"a protocol with a space", set(protocolField, "real time"), false},
		{"a protocol with a quote", set(protocolField, `"realtime"`), false},
	} {
		err := Handshake(handshakeHeader(tt.change))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestUpstreamHeaderHoldsNoSecret(t *testing.T) {
	for _, tt := range []struct {
		offered []string
		want    string
	}{
		{nil, ""},
		{[]string{"realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1"}, "realtime, openai-beta.realtime-v1"},
		{[]string{"openai-insecure-api-key.sk-1"}, ""},
		{[]string{"OpenAI-Insecure-API-Key.sk-1 ,realtime"}, "realtime"},
		{[]string{"a", "cf-aig-authorization.x,b", "xai-client-secret.x, openai-ephemeral-user-token.x", "ai-gateway-auth.x"}, "a, b"},
		{[]string{"realtime, openai-organization.org-1"}, "realtime, openai-organization.org-1"},
		{[]string{"bad token, good"}, "good"},
	} {
		h := handshakeHeader(func(h http.Header) {
			h[extensionsField], h["Authorization"], h["Cookie"] = []string{"permessage-deflate"}, []string{"Bearer x"}, []string{"a=b"}
			if tt.offered != nil {
				h[protocolField] = tt.offered
			}
		})
		out := UpstreamHeader(h)
		if got := out.Get(protocolField); got != tt.want || tt.want == "" && out[protocolField] != nil {
			t.Errorf("%q became %q", tt.offered, got)
		}
		delete(out, protocolField)
		if len(out) != 4 || Handshake(out) != nil || out.Get(keyField) != testKey {
			t.Errorf("%v", out)
		}
	}
}

func TestCheckAnswer(t *testing.T) {
	set := func(name string, values ...string) func(*http.Response) {
		return func(r *http.Response) { r.Header[name] = values }
	}
	for _, tt := range []struct {
		name   string
		change func(*http.Response)
		ok     bool
	}{
		{"good", func(*http.Response) {}, true},
		{"chosen protocol", set(protocolField, "realtime"), true},
		{"second protocol", set(protocolField, "openai-beta.realtime-v1"), true},
		{"empty extensions", set(extensionsField, ""), true},
		{"200", func(r *http.Response) { r.StatusCode = 200 }, false},
		{"no upgrade", set("Upgrade"), false},
		{"another upgrade", set("Upgrade", "h2c"), false},
		{"no connection", set("Connection", "close"), false},
		{"no accept", set(acceptField), false},
		{"accept of another key", set(acceptField, Accept("x")), false},
		{"two accepts", set(acceptField, testAccept, testAccept), false},
		{"extensions", set(extensionsField, "permessage-deflate"), false},
		{"a protocol not offered", set(protocolField, "other"), false},
		{"an empty protocol", set(protocolField, ""), false},
		{"both protocols", set(protocolField, "realtime, openai-beta.realtime-v1"), false},
		{"two protocols", set(protocolField, "realtime", "realtime"), false},
		{"no request to go by", func(r *http.Response) { r.Request = nil; r.Header[protocolField] = []string{"realtime"} }, false},
	} {
		resp := &http.Response{
			StatusCode: 101,
			Header:     http.Header{"Upgrade": {"WebSocket"}, "Connection": {"upgrade"}, acceptField: {testAccept}},
			Request:    &http.Request{Header: http.Header{protocolField: {"realtime, openai-beta.realtime-v1"}}},
		}
		tt.change(resp)
		if err := CheckAnswer(resp, testKey); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// What the client's handshake becomes never has a credential, and is a handshake when
// the client's is.
func FuzzHandshake(f *testing.F) {
	f.Add("websocket", "Upgrade", "13", testKey, "realtime, openai-insecure-api-key.sk-1")
	f.Add("h2c, websocket", "a,upgrade", " 13", testKey, "CF-AIG-Authorization.x,,b")
	f.Fuzz(func(t *testing.T, upgrade, connection, version, key, protocol string) {
		h := http.Header{"Upgrade": {upgrade}, "Connection": {connection}, versionField: {version}, keyField: {key}, protocolField: {protocol}}
		out := UpstreamHeader(h)
		if Handshake(h) == nil && Handshake(out) != nil {
			t.Fatalf("%v became %v", h, out)
		}
		for _, p := range strings.Split(out.Get(protocolField), ",") {
			for _, secret := range credentialProtocols {
				if strings.HasPrefix(strings.ToLower(strings.TrimSpace(p)), secret) {
					t.Fatalf("%q became %v", protocol, out)
				}
			}
		}
	})
}
