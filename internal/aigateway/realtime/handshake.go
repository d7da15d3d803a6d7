package realtime

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Header fields of a handshake, in http.Header's form (RFC 6455, 4.1 and 4.2).
const (
	keyField        = "Sec-Websocket-Key"
	versionField    = "Sec-Websocket-Version"
	protocolField   = "Sec-Websocket-Protocol"
	extensionsField = "Sec-Websocket-Extensions"
	acceptField     = "Sec-Websocket-Accept"
)

// credentialProtocols begin the names of subprotocols that hold a credential, in
// lower case: browsers cannot send it otherwise. They are OpenAI's, OpenAI's
// short-lived tokens', Cloudflare's, xAI's and Vercel's.
var credentialProtocols = []string{"openai-insecure-api-key.", "openai-ephemeral-", "cf-aig-authorization.", "xai-client-secret.", "ai-gateway-auth."}

// Handshake says what is wrong with a client's request for a WebSocket, by its
// header; nil when it can be passed on. Its texts hold nothing of the header.
func Handshake(h http.Header) error {
	switch {
	case !hasToken(h["Upgrade"], "websocket"):
		return errors.New("the Upgrade header does not ask for a WebSocket")
	case !hasToken(h["Connection"], "upgrade"):
		return errors.New("the Connection header does not ask for an upgrade")
	case len(h[versionField]) != 1 || strings.TrimSpace(h[versionField][0]) != "13":
		return errors.New("Sec-WebSocket-Version is not 13")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(h.Get(keyField)))
	if err != nil || len(key) != 16 || len(h[keyField]) != 1 {
		return errors.New("Sec-WebSocket-Key is not 16 bytes in base64")
	}
	for _, p := range list(h[protocolField]) {
		if !isToken(p) {
			return errors.New("Sec-WebSocket-Protocol names what cannot be a protocol")
		}
	}
	return nil
}

// UpstreamHeader is a client's handshake as it goes on: with the same key, so that
// the upstream's answer to it is right for the client too, without extensions, and
// without the subprotocols that hold a credential. Other fields are the caller's.
func UpstreamHeader(h http.Header) http.Header {
	out := http.Header{
		"Upgrade":    {"websocket"},
		"Connection": {"Upgrade"},
		versionField: {"13"},
		keyField:     {strings.TrimSpace(h.Get(keyField))},
	}
	var kept []string
	for _, p := range list(h[protocolField]) {
		if isToken(p) && !isCredential(p) {
			kept = append(kept, p)
		}
	}
	if kept != nil {
		out[protocolField] = []string{strings.Join(kept, ", ")}
	}
	return out
}

// Accept is the Sec-WebSocket-Accept that answers a key (RFC 6455, 4.2.2).
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// CheckAnswer says what is wrong with an upstream's answer to a handshake with that
// key; nil when it opened a WebSocket. The protocols that were offered are those in
// resp.Request.
func CheckAnswer(resp *http.Response, key string) error {
	h := resp.Header
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("the status is %d instead of 101", resp.StatusCode)
	case len(h["Upgrade"]) != 1 || !strings.EqualFold(h["Upgrade"][0], "websocket"):
		return errors.New("the Upgrade header is not websocket")
	case !hasToken(h["Connection"], "upgrade"):
		return errors.New("the Connection header has no upgrade")
	case len(h[acceptField]) != 1 || h[acceptField][0] != Accept(key):
		return errors.New("Sec-WebSocket-Accept does not answer the key")
	case len(list(h[extensionsField])) > 0:
		return errors.New("it uses extensions that nobody asked for")
	}
	chosen, ok := h[protocolField]
	if !ok {
		return nil
	}
	if resp.Request != nil && len(chosen) == 1 {
		for _, p := range list(resp.Request.Header[protocolField]) {
			if p == chosen[0] {
				return nil
			}
		}
	}
	return errors.New("it chose a protocol that was not offered")
}

// list is what stands between the commas of a field's lines.
func list(lines []string) []string {
	var all []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if part = strings.Trim(part, " \t"); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}

func hasToken(lines []string, token string) bool {
	for _, part := range list(lines) {
		if strings.EqualFold(part, token) {
			return true
		}
	}
	return false
}

func isCredential(protocol string) bool {
	protocol = strings.ToLower(protocol)
	for _, prefix := range credentialProtocols {
		if strings.HasPrefix(protocol, prefix) {
			return true
		}
	}
	return false
}

// isToken says whether s is a token of HTTP's grammar (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
