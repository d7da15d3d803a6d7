package openclaw

import (
	"net/url"
	"strings"
)

// Hidden stands in a redacted configuration where a secret was, or may have been.
const Hidden = "[redacted]"

// Redact reads an openclaw.json and returns it as JSON values without what may be
// secret: all that stands under a name that says so, environment variables,
// headers, arguments of programs that are no flags, passwords and queries in URLs,
// and texts that look random. show is applied to every text that is left.
func Redact(config []byte, show func(string) string) (any, error) {
	doc, err := parseDocument(config)
	if err != nil {
		return nil, err
	}
	return redact(decode(&doc.root), false, show), nil
}

// secretWords are parts of names under which secrets are kept, in lower case and
// without what joins words.
var secretWords = []string{"token", "secret", "password", "passwd", "passphrase", "apikey", "privatekey", "accesskey", "signingkey",
	"encryptionkey", "credential", "authorization", "cookie", "webhookurl", "dsn", "bearer", "headers", "env", "sessionkey", "clientkey", "jwt"}

// openWords are names that have such a part and are no secrets.
var openWords = []string{"tokens", "maxtokens", "contexttokens", "budgettokens", "environment", "envfrom"}

func isSecretName(name string) bool {
	name = strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(strings.ToLower(name))
	switch name {
	case "key", "env", "pass", "pin":
		return true
	}
	for _, open := range openWords {
		if name == open {
			return false
		}
	}
	for _, word := range secretWords {
		if strings.Contains(name, word) && (word != "env" || strings.HasPrefix(name, "env") || strings.HasSuffix(name, "env")) {
			return true
		}
	}
	return false
}

// redact returns v without secrets; inside says that it stands under the name of
// one.
func redact(v any, inside bool, show func(string) string) any {
	switch v := v.(type) {
	case string:
		if inside && v != "" {
			return Hidden
		}
		if looksRandom(v) {
			return Hidden
		}
		return show(withoutPassword(v))
	case float64:
		if inside { // a PIN
			return Hidden
		}
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = redact(e, inside, show)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			_, isText := e.(string)
			secret := inside || isSecretName(name) || isText && strings.EqualFold(name, "auth")
			if args, ok := e.([]any); ok && strings.EqualFold(name, "args") && !secret {
				e = flagsOf(args)
			}
			out[show(name)] = redact(e, secret, show)
		}
		return out
	}
	return v
}

// withoutPassword hides what a URL carries beyond its place: a password, and the
// values of its query.
func withoutPassword(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return Hidden
	}
	if u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return s
	}
	shown := u.Scheme + "://"
	if u.User != nil {
		shown += Hidden + "@"
	}
	shown += u.Host + u.EscapedPath()
	if u.RawQuery != "" || u.Fragment != "" {
		shown += "?" + Hidden
	}
	return shown
}

// flagsOf hides the arguments of a program that are not just a flag's name.
func flagsOf(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		text, ok := arg.(string)
		if out[i] = any(Hidden); ok && strings.HasPrefix(text, "-") {
			name, _, given := strings.Cut(text, "=")
			if out[i] = name; given {
				out[i] = name + "=" + Hidden
			}
		}
	}
	return out
}

// randomLength is how many letters and digits in a row, some of each, no word has.
const randomLength = 20

// looksRandom says whether a text has a part like a key or a token.
func looksRandom(s string) bool {
	var length, letters, digits int
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_', r == '+':
			letters++
		default:
			length, letters, digits = 0, 0, 0
			continue
		}
		if length++; length >= randomLength && letters > 0 && digits > 0 {
			return true
		}
	}
	return false
}
