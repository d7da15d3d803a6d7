package provider

import (
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Bounds of a path below a provider's name.
const (
	maxPath     = 1024 // bytes, as it comes
	maxSegments = 12
	maxSegment  = 256 // bytes; the longest model names of Bedrock are below 150
	maxArgs     = 5
)

const (
	post = "POST"
	get  = "GET"
)

// none stands for a path that Cloudflare's gateway does not have.
const none = "-"

// trait says what a path is like.
type trait uint8

const (
	paid   trait = 1 << iota // a model answers, which costs where the provider is paid
	safe                     // may be sent again although it may have been carried out: that only costs
	socket                   // a WebSocket
)

// spec is how a path is written down. A "{name}" takes one segment; what it may be
// depends on the name, see arg.
type spec struct {
	m     string // method
	in    string // below the provider's name
	out   string // below the base URL; "" means like in
	chain string // below the provider's name at Cloudflare; "" means like out
	kind  usage.Kind
	is    trait
}

// rule is a spec made ready.
type rule struct {
	m     string
	in    []part
	out   []part
	chain []part // nil where Cloudflare has no such path
	names []string
	kind  usage.Kind
	is    trait
}

// part is a piece of a path. In what is matched, one part is one segment.
type part struct {
	lit string // before a parameter: the whole segment; after one: what must follow it
	arg int    // index of the parameter, or -1
}

// Endpoint is a path that may be called.
type Endpoint struct {
	Provider  *Provider
	Kind      usage.Kind
	Model     string // where the path names it; otherwise the body or the query does
	Paid      bool   // a model answers; free for local providers
	Retry     bool   // may be sent again although it may have been carried out
	WebSocket bool

	rule *rule
	args [maxArgs]string
}

// Path is the endpoint's path at its provider, below the base URL.
func (ep Endpoint) Path() string {
	if ep.rule == nil {
		return ""
	}
	return ep.write(ep.rule.out)
}

// Match finds the endpoint at a path below the provider's name, as it came in the
// request line (url.URL's EscapedPath): escapes count only where they stand for a
// byte that needs none.
func (p *Provider) Match(method, path string) (Endpoint, bool) {
	var segments [maxSegments]string
	n, ok := split(path, &segments)
	if !ok {
		return Endpoint{}, false
	}
	s := segments[:n]
	ep, ok := p.find(method, s)
	if !ok && p.loose && n > 1 && s[0] == "v1" {
		return p.find(method, s[1:])
	}
	return ep, ok
}

func (p *Provider) find(method string, segments []string) (Endpoint, bool) {
	for i := range p.rules {
		r := &p.rules[i]
		if len(r.in) != len(segments) || r.m != method {
			continue
		}
		var args [maxArgs]string
		if r.fits(segments, &args) {
			return p.endpoint(r, args), true
		}
	}
	return Endpoint{}, false
}

func (p *Provider) endpoint(r *rule, args [maxArgs]string) Endpoint {
	return Endpoint{
		Provider: p, Kind: r.kind, Model: r.model(&args),
		Paid: r.is&paid != 0, Retry: r.is&safe != 0, WebSocket: r.is&socket != 0,
		rule: r, args: args,
	}
}

// fits reports whether the path is the rule's, and takes its parameters out. What is
// written is compared first: it tells most rules apart.
func (r *rule) fits(segments []string, args *[maxArgs]string) bool {
	for i, p := range r.in {
		if s := segments[i]; p.arg < 0 && s != p.lit || p.arg >= 0 && !strings.HasSuffix(s, p.lit) {
			return false
		}
	}
	for i, p := range r.in {
		if p.arg < 0 {
			continue
		}
		s := strings.TrimSuffix(segments[i], p.lit)
		if !validArg(r.names[p.arg], s) {
			return false
		}
		args[p.arg] = s
	}
	return true
}

// model is what the path calls the model.
func (r *rule) model(args *[maxArgs]string) string {
	if m := r.arg(args, "model"); m != "" {
		return m
	}
	if m := r.arg(args, "deployment"); m != "" {
		return m
	}
	name := r.arg(args, "name")
	for _, before := range []string{"author", "cf"} {
		if s := r.arg(args, before); s != "" {
			name = s + "/" + name
		}
	}
	return name
}

func (r *rule) arg(args *[maxArgs]string, name string) string {
	if i := slices.Index(r.names, name); i >= 0 {
		return args[i]
	}
	return ""
}

// validArg says what a parameter may be. The bytes are already those of [split];
// those that choose a host or what a client may reach there are narrower.
func validArg(name, s string) bool {
	switch name {
	case "version":
		return s == "v1" || s == "v1beta" || s == "v1alpha" || s == "v1beta1"
	case "resource":
		return isLabel(s)
	case "region":
		return isRegion(s)
	case "location":
		return isLocation(s)
	case "project":
		return isLabel(s)
	case "id":
		return s != "" && strings.IndexByte(s, ':') < 0
	case "cf":
		return s == "@cf" || s == "@hf"
	}
	return s != ""
}

// split takes a path apart. It refuses whatever two servers may read differently:
// empty and dot segments, backslashes, control bytes, and escapes of anything that
// is not plain.
func split(path string, segments *[maxSegments]string) (int, bool) {
	if len(path) < 2 || len(path) > maxPath || path[0] != '/' {
		return 0, false
	}
	n := 0
	for rest := path[1:]; ; {
		s, more, found := strings.Cut(rest, "/")
		if n == maxSegments {
			return 0, false
		}
		s, ok := plain(s)
		if !ok {
			return 0, false
		}
		segments[n] = s
		n++
		if !found {
			return n, true
		}
		rest = more
	}
}

// plain is a segment without escapes.
func plain(s string) (string, bool) {
	if s == "" || len(s) > maxSegment {
		return "", false
	}
	dots, escaped := true, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			var ok bool
			if c, ok = unhex(s[i:]); !ok {
				return "", false
			}
			escaped = true
			i += 2
		}
		if !plainByte[c] {
			return "", false
		}
		dots = dots && c == '.'
	}
	if dots {
		return "", false
	}
	if escaped {
		s = unescape(s)
	}
	return s, true
}

// plainByte are the bytes that a segment may have: those that no server gives a
// meaning in a path.
var plainByte = func() (set [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:@+=,") {
		set[c] = true
	}
	return set
}()

// unescape decodes a segment whose escapes are known to be well formed.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			c, _ = unhex(s[i:])
			i += 2
		}
		b = append(b, c)
	}
	return string(b)
}

// unhex is the byte of an escape at the start of s.
func unhex(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, ok1 := digit(s[1])
	lo, ok2 := digit(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func digit(c byte) (byte, bool) {
	switch {
	case isDigit(c):
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// open is how many segments are parameters. Rules with fewer are tried first.
func (r *rule) open() int {
	n := 0
	for _, p := range r.in {
		if p.arg >= 0 {
			n++
		}
	}
	return n
}

// compile makes lists of specs ready.
func compile(lists ...[]spec) []rule {
	var rules []rule
	for _, s := range slices.Concat(lists...) {
		r := rule{m: s.m, kind: s.kind, is: s.is}
		r.in = r.parse(s.in)
		r.out = r.in
		if s.out != "" {
			r.out = r.parse(s.out)
		}
		switch s.chain {
		case "":
			r.chain = r.out
		case none:
		default:
			r.chain = r.parse(s.chain)
		}
		rules = append(rules, r)
	}
	slices.SortStableFunc(rules, func(a, b rule) int { return a.open() - b.open() })
	return rules
}

// parse takes a written path apart, one part a segment.
func (r *rule) parse(path string) []part {
	parts := []part{}
	for s := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		name, after, ok := strings.Cut(strings.TrimPrefix(s, "{"), "}")
		if s == "" {
			continue
		}
		if !ok {
			parts = append(parts, part{lit: s, arg: -1})
			continue
		}
		i := slices.Index(r.names, name)
		if i < 0 {
			i = len(r.names)
			r.names = append(r.names, name)
		}
		parts = append(parts, part{lit: after, arg: i})
	}
	return parts
}
