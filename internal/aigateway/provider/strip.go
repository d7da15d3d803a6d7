package provider

import (
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// credentialHeaders are those by which a client could bring a credential of its own
// to some provider or gateway, in canonical form. X-Amz-* is all of AWS's.
var credentialHeaders = map[string]bool{
	"Authorization": true, "Proxy-Authorization": true, "Cookie": true, "Cookie2": true,
	"X-Api-Key": true, "Api-Key": true, "X-Goog-Api-Key": true, "X-Goog-Iam-Authorization-Token": true,
	"Cf-Aig-Authorization": true, "Cf-Access-Client-Id": true, "Cf-Access-Client-Secret": true, "Cf-Access-Token": true,
	"X-Auth-Key": true, "X-Auth-Email": true, "X-Auth-Token": true, "X-Auth-User-Service-Key": true, "X-Access-Token": true,
	"Ocp-Apim-Subscription-Key": true, "X-Ms-Authorization-Auxiliary": true,
}

// credentialQuery are such parameters of a query, in lower case: Google's API keys
// and tokens, Azure's subscription keys. X-Amz-* is AWS's presigned form, and $http*
// stands for headers at Google.
var credentialQuery = map[string]bool{
	"key": true, "api_key": true, "api-key": true, "apikey": true, "access_token": true, "oauth_token": true,
	"auth_token": true, "subscription-key": true, "cf-aig-authorization": true,
}

// credentialProtocols begin the names of WebSocket subprotocols that hold a
// credential (OpenAI's and Cloudflare's realtime APIs, for browsers).
var credentialProtocols = []string{"openai-insecure-api-key.", "openai-ephemeral-", "cf-aig-authorization.", "xai-client-secret.", "ai-gateway-auth."}

const (
	amzPrefix = "X-Amz-"
	protocol  = "Sec-Websocket-Protocol"
)

// Strip takes away every credential that came with a request. Either may be nil.
func Strip(h http.Header, q url.Values) {
	for name := range h {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case credentialHeaders[canonical] || strings.HasPrefix(canonical, amzPrefix):
			delete(h, name)
		case canonical == protocol:
			stripProtocols(h, name)
		}
	}
	for name := range q {
		if isCredentialQuery(name) {
			delete(q, name)
		}
	}
}

// stripProtocols keeps the subprotocols that hold no credential. The client's own
// slice stays as it is.
func stripProtocols(h http.Header, name string) {
	var kept []string
	for _, v := range h[name] {
		for p := range strings.SplitSeq(v, ",") {
			if p = strings.TrimSpace(p); p != "" && !holdsCredential(p) {
				kept = append(kept, p)
			}
		}
	}
	delete(h, name)
	if len(kept) > 0 {
		h[protocol] = []string{strings.Join(kept, ", ")}
	}
}

func holdsCredential(protocol string) bool {
	protocol = strings.ToLower(protocol)
	for _, prefix := range credentialProtocols {
		if strings.HasPrefix(protocol, prefix) {
			return true
		}
	}
	return false
}

func isCredentialQuery(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	return credentialQuery[name] || strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "$http")
}

// maxQuery bounds a client's query, in bytes.
const maxQuery = 4096

var errQuery = errors.New("the query has bytes that no query has, or is too long")

// cleanQuery is a client's raw query without credentials, otherwise byte for byte,
// save that a semicolon is escaped: some servers take it for an ampersand.
func cleanQuery(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	if len(raw) > maxQuery {
		return "", errQuery
	}
	for _, c := range []byte(raw) {
		if c <= ' ' || c > '~' || c == '#' {
			return "", errQuery
		}
	}
	var kept []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return "", errQuery
		}
		if pair != "" && !isCredentialQuery(name) {
			kept = append(kept, strings.ReplaceAll(pair, ";", "%3B"))
		}
	}
	return strings.Join(kept, "&"), nil
}
