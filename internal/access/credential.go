package access

import (
	"net/http"
	"net/url"
	"strings"
)

// Source is where a caller's credential was found.
type Source string

// The places, in the order in which they are looked at. The first one that holds
// anything counts.
const (
	SourceNone   Source = ""
	SourceQuery  Source = "query"  // ?token=T
	SourceHeader Source = "header" // X-Moltworker-Token: T
	SourceBearer Source = "bearer" // Authorization: Bearer T
	SourceCookie Source = "cookie"
	SourceForm   Source = "form"
	SourceLine   Source = "line" // where the connection comes from, which no page decides
)

// TokenHeader carries the gateway token where Authorization is taken.
const TokenHeader = "X-Moltworker-Token"

// queryToken is the parameter that carries the token in a link.
const queryToken = "token"

// presented finds the token that the request itself carries.
func presented(r *http.Request) (string, Source) {
	if token := QueryToken(r.URL); token != "" {
		return token, SourceQuery
	}
	if token := strings.TrimSpace(r.Header.Get(TokenHeader)); token != "" {
		return token, SourceHeader
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); token != "" && strings.EqualFold(scheme, "Bearer") {
		return token, SourceBearer
	}
	return "", SourceNone
}

// QueryToken returns the token in a URL's query, or "".
func QueryToken(u *url.URL) string {
	if !strings.Contains(u.RawQuery, queryToken) {
		return "" // the common case, without parsing
	}
	return u.Query().Get(queryToken)
}

// WithoutToken returns a raw query with every token parameter taken out and the
// rest left as it was, byte for byte.
func WithoutToken(rawQuery string) string {
	if !strings.Contains(rawQuery, "tok") && !strings.Contains(rawQuery, "%") {
		return rawQuery
	}
	kept := make([]string, 0, 4)
	for pair := range strings.SplitSeq(rawQuery, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(key); err == nil && name == queryToken {
			continue
		}
		kept = append(kept, pair)
	}
	return strings.Join(kept, "&")
}

// Strip takes our own credentials out of a request that is about to leave for
// the gateway: what opens the edge is none of the guest's business. Authorization
// stays, it is the gateway's own.
func Strip(r *http.Request) {
	r.URL.RawQuery = WithoutToken(r.URL.RawQuery)
	r.Header.Del(TokenHeader)
	stripCookies(r.Header)
}
