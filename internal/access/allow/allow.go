// Package allow owns lists of whom somebody else's word lets in: e-mail addresses
// and whole domains, compared letter by letter.
//
// It must not know who gives that word or whether it is to be believed.
package allow

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxAddress is the longest e-mail address, in bytes.
const maxAddress = 254

// List is of e-mail addresses, @DOMAINs and, where somebody has other names,
// those names. An empty list has nobody on it.
type List struct{ names []string }

// New makes a list.
func New(names []string) List {
	l := List{}
	for _, name := range names {
		if name = fold(strings.TrimSpace(name)); name != "" && name != "@" {
			l.names = append(l.names, name)
		}
	}
	return l
}

// IsEmpty says whether nobody is on the list.
func (l List) IsEmpty() bool { return len(l.names) == 0 }

// HasName says whether that very name is on the list.
func (l List) HasName(name string) bool { return name != "" && slices.Contains(l.names, fold(name)) }

// HasAddress says whether that address, or its domain, is on the list. What
// [Address] does not take is on no list.
func (l List) HasAddress(address string) bool {
	address, ok := Address(address)
	return ok && (l.HasName(address) || l.HasName(address[strings.IndexByte(address, '@'):]))
}

// Address is the form of an e-mail address in which it is kept and compared. It
// refuses what could be read in two ways: more than one @, spaces, characters
// that cannot be seen.
func Address(s string) (string, bool) {
	local, domain, _ := strings.Cut(s, "@")
	if local == "" || domain == "" || strings.Contains(domain, "@") || !Printable(s, maxAddress) || strings.ContainsAny(s, " \"<>,;") {
		return "", false
	}
	return fold(s), true
}

// Printable says whether s is a name that can be shown and recorded, of at most
// so many bytes.
func Printable(s string, most int) bool {
	return s != "" && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// fold makes ASCII letters small and no others: some foreign letters have a small
// form that is an ASCII letter, and with that one domain would pass for another.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
