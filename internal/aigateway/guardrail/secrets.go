package guardrail

import (
	"bytes"
	"encoding/base64"
)

// secrets finds what services give out to be kept secret, by the forms that their
// documentation and their keys have.
type secrets struct{}

func (secrets) Name() string { return Secrets }

// shape is a secret that begins with a literal and goes on in letters of one class.
type shape struct {
	kind        string
	literal     string
	class       func(byte) bool
	least, most int  // letters after the literal
	random      bool // they must have digits and capitals: the literal alone tells little
}

// The first shape that fits at a place counts.
var shapes = []shape{
	{"anthropic_key", "sk-ant-", isToken, 16, 300, false},
	{"openrouter_key", "sk-or-", isToken, 16, 300, false},
	{"openai_key", "sk-", isToken, 20, 300, true},
	{"google_key", "AIza", isToken, 35, 35, false},
	{"google_oauth_secret", "GOCSPX-", isToken, 28, 28, false},
	{"groq_key", "gsk_", isAlnum, 40, 200, false},
	{"xai_key", "xai-", isAlnum, 40, 200, false},
	{"hugging_face_token", "hf_", isAlnum, 30, 60, true},
	{"replicate_token", "r8_", isAlnum, 37, 40, false},
	{"perplexity_key", "pplx-", isAlnum, 40, 80, false},
	{"cerebras_key", "csk-", isAlnum, 40, 80, false},
	{"nvidia_key", "nvapi-", isToken, 60, 80, false},
	{"aws_access_key", "AKIA", isUpper, 16, 16, false},
	{"aws_access_key", "ASIA", isUpper, 16, 16, false},
	{"github_token", "ghp_", isAlnum, 36, 255, false},
	{"github_token", "gho_", isAlnum, 36, 255, false},
	{"github_token", "ghu_", isAlnum, 36, 255, false},
	{"github_token", "ghs_", isAlnum, 36, 255, false},
	{"github_token", "ghr_", isAlnum, 36, 255, false},
	{"github_token", "github_pat_", isToken, 22, 255, false},
	{"gitlab_token", "glpat-", isToken, 20, 200, false},
	{"npm_token", "npm_", isAlnum, 36, 36, false},
	{"slack_token", "xox", isSlack, 14, 300, false},
	{"slack_token", "xapp-", isSlack, 10, 300, false},
	{"stripe_key", "sk_live_", isAlnum, 16, 250, false},
	{"stripe_key", "rk_live_", isAlnum, 16, 250, false},
	{"sendgrid_key", "SG.", isDotted, 60, 70, true},
}

var shapeLiterals = func() (l literals) {
	for i := range shapes {
		l.add(shapes[i].literal, i)
	}
	return l
}()

// Find reports a secret once.
func (secrets) Find(_ Subject, text []byte, found func(Match)) {
	var seen map[int]bool // where a secret was found; "sk-ant-" is "sk-" too
	each := func(m Match) {
		if seen[m.From] {
			return
		}
		if seen == nil {
			seen = map[int]bool{}
		}
		seen[m.From] = true
		found(m)
	}
	shapeLiterals.each(text, func(of, i, _ int) { shapes[of].fit(text, i, each) })
	findPEM(text, each)
	findJWT(text, each)
	findTelegram(text, each)
	findDiscord(text, each)
	findAWSSecret(text, each)
	findSlackHook(text, each)
}

// fit looks at the place where the shape's literal is.
func (s *shape) fit(text []byte, i int, found func(Match)) {
	from := i + len(s.literal)
	n := run(text, from, s.class, s.most)
	if n < s.least || n > s.most {
		return
	}
	if key := text[from : from+n]; !s.random && varied(key) || s.random && looksRandom(key) {
		found(Match{s.kind, i, from + n})
	}
}

// varied tells a key from what stands for one in documents: xxxxxxxx, EXAMPLE, your-key.
func varied(b []byte) bool {
	var has [256]bool
	kinds := 0
	for _, c := range b {
		if !has[c] {
			has[c] = true
			kinds++
		}
	}
	return kinds >= 7 && bytes.ContainsAny(b, "0123456789") && !bytes.Contains(b, []byte("EXAMPLE"))
}

// looksRandom tells a key from words that are joined: it has digits and capitals.
func looksRandom(b []byte) bool {
	return varied(b) && bytes.ContainsAny(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

const maxPEM = 16 << 10 // bytes of a private key

// findPEM finds private keys, RFC 7468. One without an end goes on to the end of its
// letters.
func findPEM(text []byte, found func(Match)) {
	begin, done := "-----BEGIN ", 0
	eachIndex(text, begin, func(i int) {
		if i < done {
			return
		}
		rest := text[i+len(begin) : min(i+maxPEM, len(text))]
		if end := bytes.IndexByte(rest, 0); end >= 0 {
			rest = rest[:end]
		}
		label := rest[:min(len(rest), 48)]
		n := bytes.Index(label, []byte("PRIVATE KEY"))
		if n < 0 || bytes.Contains(label[:n], []byte("-----")) {
			return
		}
		to := len(rest)
		if end := bytes.Index(rest, []byte("-----END ")); end >= 0 {
			to = end + len("-----END ")
			if close := bytes.Index(rest[to:], []byte("-----")); close >= 0 && close < 48 {
				to += close + len("-----")
			}
		} else if to < n+64 {
			return // only the words
		}
		done = i + len(begin) + to
		found(Match{"private_key", i, done})
	})
}

const maxJWT = 8 << 10 // bytes

// findJWT finds signed tokens, RFC 7519: base64url of {"..., twice, and a signature.
func findJWT(text []byte, found func(Match)) {
	eachIndex(text, "eyJ", func(i int) {
		if i > 0 && isDotted(text[i-1]) {
			return
		}
		n := run(text, i, isDotted, maxJWT)
		parts := bytes.Split(text[i:i+n], []byte("."))
		if n > maxJWT || len(parts) < 3 || len(parts[0]) < 16 || len(parts[1]) < 8 || len(parts[2]) < 16 || !bytes.HasPrefix(parts[1], []byte("eyJ")) {
			return
		}
		head := make([]byte, base64.RawURLEncoding.DecodedLen(len(parts[0])))
		if m, err := base64.RawURLEncoding.Decode(head, parts[0]); err != nil || !bytes.Contains(head[:m], []byte(`"alg"`)) {
			return
		}
		found(Match{"jwt", i, i + len(parts[0]) + len(parts[1]) + len(parts[2]) + 2})
	})
}

// findTelegram finds a bot's number, a colon, and 35 letters.
func findTelegram(text []byte, found func(Match)) {
	eachIndex(text, ":", func(i int) {
		if i == 0 || !isDigit(text[i-1]) || run(text, i+1, isToken, 35) != 35 {
			return
		}
		from := i
		for from > 0 && i-from < 13 && isDigit(text[from-1]) {
			from--
		}
		// In the address of Telegram's API the word "bot" stands before it.
		word := from > 0 && isToken(text[from-1]) && !bytes.HasSuffix(text[:from], []byte("bot"))
		if n := i - from; n < 7 || n > 12 || word || !looksRandom(text[i+1:i+36]) {
			return
		}
		found(Match{"telegram_token", from, i + 36})
	})
}

// findDiscord finds a bot's number in base64, a dot, 6 letters of time, a dot and a
// signature.
func findDiscord(text []byte, found func(Match)) {
	eachIndex(text, ".", func(i int) {
		if i+7 >= len(text) || text[i+7] != '.' || run(text, i+1, isToken, 6) != 6 {
			return
		}
		from := i
		for from > 0 && i-from < 29 && isToken(text[from-1]) {
			from--
		}
		n, tail := i-from, run(text, i+8, isToken, 45)
		if n < 24 || from > 0 && isDotted(text[from-1]) || text[from] < 'M' || text[from] > 'O' || tail < 27 || tail > 45 || !looksRandom(text[from:i]) {
			return
		}
		found(Match{"discord_token", from, i + 8 + tail})
	})
}

// findAWSSecret finds 40 letters of base64 after the names that AWS gives to them.
func findAWSSecret(text []byte, found func(Match)) {
	for _, name := range []string{"ccess_key", "ccessKey", "CCESS_KEY"} {
		eachIndex(text, name, func(i int) {
			before := text[max(0, i-len("secret_a")):i]
			if !bytes.Contains(bytes.ToLower(before), []byte("ecret")) {
				return
			}
			at := i + len(name)
			at += run(text, at, func(c byte) bool { return bytes.IndexByte([]byte(` "'=:>\`), c) >= 0 }, 8)
			if run(text, at, isBase64, 40) == 40 && looksRandom(text[at:at+40]) {
				found(Match{"aws_secret_key", at, at + 40})
			}
		})
	}
}

// findSlackHook finds addresses that post into Slack.
func findSlackHook(text []byte, found func(Match)) {
	const literal = "hooks.slack.com/services/"
	eachIndex(text, literal, func(i int) {
		at := i + len(literal)
		n := run(text, at, func(c byte) bool { return isAlnum(c) || c == '/' }, 80)
		if n >= 36 && n <= 80 && text[at] == 'T' && varied(text[at:at+n]) {
			found(Match{"slack_webhook", i, at + n})
		}
	})
}
