package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// AWS Signature Version 4, as the IAM User Guide has it in "Create a signed AWS API
// request".

const (
	sigAlgorithm = "AWS4-HMAC-SHA256"
	sigTime      = "20060102T150405Z"
	sigDay       = "20060102"
)

// sigScope is with whose key and for what a request is signed.
type sigScope struct {
	id, secret, session string // session is "" for keys that do not end
	region, service     string
}

// sigRequest is what of a request is signed.
type sigRequest struct {
	method string
	host   string
	path   string // as it is on the wire
	query  string // as it is on the wire
	header http.Header
	body   []byte
}

// sign sets the headers X-Amz-Date, X-Amz-Security-Token and Authorization. Beside
// these and the host, the named headers (in lower case) are signed where they are
// there.
func (s sigScope) sign(r sigRequest, named []string, now time.Time) {
	now = now.UTC()
	stamp := now.Format(sigTime)
	r.header["X-Amz-Date"] = []string{stamp}
	named = append(slices.Clone(named), "host", "x-amz-date")
	if s.session != "" {
		r.header["X-Amz-Security-Token"] = []string{s.session}
		named = append(named, "x-amz-security-token")
	}
	slices.Sort(named)
	canonical, names := r.canonical(named)
	scope := now.Format(sigDay) + "/" + s.region + "/" + s.service + "/aws4_request"
	toSign := sigAlgorithm + "\n" + stamp + "\n" + scope + "\n" + hexSum([]byte(canonical))
	signature := hex.EncodeToString(mac(s.key(now), toSign))
	r.header["Authorization"] = []string{sigAlgorithm + " Credential=" + s.id + "/" + scope +
		", SignedHeaders=" + names + ", Signature=" + signature}
}

// key is the signing key of a day, region and service.
func (s sigScope) key(now time.Time) []byte {
	k := mac([]byte("AWS4"+s.secret), now.Format(sigDay))
	k = mac(k, s.region)
	k = mac(k, s.service)
	return mac(k, "aws4_request")
}

// canonical is the canonical request, and the list of signed headers in it. Each
// segment of the path is encoded once more than on the wire, as all services but S3
// have it.
func (r sigRequest) canonical(named []string) (request, names string) {
	var head strings.Builder
	var signed []string
	for _, name := range named {
		values := r.header[textproto.CanonicalMIMEHeaderKey(name)]
		if name == "host" {
			values = []string{r.host}
		}
		if len(values) == 0 {
			continue
		}
		signed = append(signed, name)
		head.WriteString(name + ":")
		for i, v := range values {
			if i > 0 {
				head.WriteByte(',')
			}
			head.WriteString(strings.Join(strings.Fields(v), " "))
		}
		head.WriteByte('\n')
	}
	names = strings.Join(signed, ";")
	return r.method + "\n" + strictPath(r.path) + "\n" + canonicalQuery(r.query) + "\n" +
		head.String() + "\n" + names + "\n" + hexSum(r.body), names
}

// strictPath encodes a path as AWS does: everything but RFC 3986's unreserved bytes
// and the slashes.
func strictPath(path string) string {
	if path == "" {
		return "/"
	}
	return strictEscape(path, '/')
}

// canonicalQuery is a query with its parameters encoded alike and in order.
func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var pairs [][2]string
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, [2]string{queryEscape(name), queryEscape(value)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p[0] + "=" + p[1])
	}
	return b.String()
}

// queryEscape encodes again what may be encoded in some other way. A "%" that
// begins no escape stands for itself.
func queryEscape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if decoded, ok := unhex(s[i:]); ok {
				c = decoded
				i += 2
			}
		}
		b = append(b, c)
	}
	return strictEscape(string(b), 0)
}

// strictEscape encodes all but unreserved bytes and one more.
func strictEscape(s string, keep byte) string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		c := s[i]
		switch {
		case isLower(c|0x20) || isDigit(c) || strings.IndexByte("-._~", c) >= 0 || c == keep && keep != 0:
			b = append(b, c)
		default:
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
