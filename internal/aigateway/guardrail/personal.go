package guardrail

import (
	"bytes"
	"slices"
)

// personal finds data of persons: addresses, and numbers that carry a check digit or
// have a form of their own.
type personal struct{}

func (personal) Name() string { return PII }

func (personal) Find(_ Subject, text []byte, found func(Match)) {
	eachIndex(text, "@", func(i int) { findEmail(text, i, found) })
	eachIndex(text, "+", func(i int) { findPhone(text, i, found) })
	for i := 0; i < len(text); {
		c := text[i]
		if i > 0 && isAlnum(text[i-1]) {
			i++
			continue
		}
		n := 0
		switch {
		case isDigit(c):
			n = findNumber(text, i, found)
		case 'A' <= c && c <= 'Z':
			n = findIBAN(text, i, found)
		}
		i += max(n, 1)
	}
}

// findEmail finds an address around an @, in the letters that are in use; RFC 5321
// bounds what stands before it to 64 bytes and what follows to 255.
func findEmail(text []byte, i int, found func(Match)) {
	from := i
	for from > 0 && i-from <= 64 && isLocal(text[from-1]) {
		from--
	}
	for from < i && text[from] == '.' {
		from++
	}
	to := i + 1 + run(text, i+1, func(c byte) bool { return isAlnum(c) || c == '-' || c == '.' }, 255)
	for to > i && (text[to-1] == '.' || text[to-1] == '-') {
		to--
	}
	domain := text[i+1 : max(to, i+1)]
	dot := bytes.LastIndexByte(domain, '.')
	if n := i - from; n < 1 || n > 64 || len(domain) > 255 || dot < 1 || text[i-1] == '.' || bytes.Contains(domain, []byte("..")) {
		return
	}
	top := domain[dot+1:]
	if letters := run(top, 0, func(c byte) bool { return isAlnum(c) && !isDigit(c) }, 24); len(top) < 2 || letters != len(top) {
		return
	}
	found(Match{"email", from, to})
}

// findPhone finds a number in the international form, ITU-T E.164: a plus and up to
// 15 digits, here at least 9, perhaps in groups.
func findPhone(text []byte, i int, found func(Match)) {
	if i > 0 && (isAlnum(text[i-1]) || text[i-1] == '+' || text[i-1] == '/') || i+1 >= len(text) || text[i+1] < '1' || text[i+1] > '9' {
		return
	}
	digits, to, gap := 0, i+1, 0
	for at := i + 1; at < len(text) && digits <= 15; at++ {
		if isDigit(text[at]) {
			digits, to, gap = digits+1, at+1, 0
		} else if gap++; gap > 2 || bytes.IndexByte([]byte(" -.()"), text[at]) < 0 {
			break
		}
	}
	if digits < 9 || digits > 15 || to < len(text) && isAlnum(text[to]) {
		return
	}
	found(Match{"phone", i, to})
}

// findNumber finds a card or a social security number that begins at i. It returns
// how many bytes were looked at for good.
func findNumber(text []byte, i int, found func(Match)) int {
	if i > 0 && (text[i-1] == '.' || text[i-1] == '-' || text[i-1] == '_' || text[i-1] == '+') {
		return run(text, i, isDigit, 32)
	}
	if n := ssn(text[i:]); n > 0 {
		found(Match{"us_ssn", i, i + n})
		return n
	}
	var digits [20]byte
	n, to := 0, i
	for at := i; at < len(text) && n < len(digits); at++ {
		if isDigit(text[at]) {
			digits[n] = text[at] - '0'
			n, to = n+1, at+1
		} else if text[at] != ' ' && text[at] != '-' || !isDigit(text[at-1]) {
			break
		}
	}
	if isCard(digits[:n]) && (to == len(text) || !isAlnum(text[to])) {
		found(Match{"credit_card", i, to})
		return to - i
	}
	return run(text, i, isDigit, 32)
}

// ssn is the length of a US social security number as it is written, with hyphens;
// 0 for none. The areas 000, 666 and 900 to 999, the group 00 and the serial number
// 0000 are never given out.
func ssn(b []byte) int {
	if len(b) < 11 || b[3] != '-' || b[6] != '-' || len(b) > 11 && (isToken(b[11])) {
		return 0
	}
	for i, c := range b[:11] {
		if i != 3 && i != 6 && !isDigit(c) {
			return 0
		}
	}
	area := string(b[:3])
	if area == "000" || area == "666" || area[0] == '9' || string(b[4:6]) == "00" || string(b[7:11]) == "0000" {
		return 0
	}
	return 11
}

// isCard says whether digits are of a card network and pass the Luhn check of ISO/IEC
// 7812-1.
func isCard(d []byte) bool {
	if len(d) < 13 || len(d) > 19 {
		return false
	}
	two, four := int(d[0])*10+int(d[1]), int(d[0])*1000+int(d[1])*100+int(d[2])*10+int(d[3])
	switch {
	case d[0] == 4: // Visa
		if len(d) != 13 && len(d) != 16 && len(d) != 19 {
			return false
		}
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720: // Mastercard
		if len(d) != 16 {
			return false
		}
	case two == 34 || two == 37: // American Express
		if len(d) != 15 {
			return false
		}
	case two == 36 || two == 38 || two == 30: // Diners Club
		if len(d) != 14 {
			return false
		}
	case two == 60 || two == 62 || two == 64 || two == 65 || two == 35: // Discover, UnionPay, JCB
		if len(d) < 16 {
			return false
		}
	default:
		return false
	}
	sum := 0
	for i := range d {
		n := int(d[len(d)-1-i])
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

// ibanLength is the length of a country's account numbers, from the IBAN registry
// (ISO 13616) of SWIFT.
var ibanLength = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21, "CR": 22,
	"CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22,
	"GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30,
	"KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27,
	"MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31,
	"SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}

// findIBAN finds an account number that begins at i, perhaps in groups. It returns
// how many bytes it has.
func findIBAN(text []byte, i int, found func(Match)) int {
	if i+4 > len(text) || !isDigit(text[i+2]) || !isDigit(text[i+3]) {
		return 0
	}
	want := ibanLength[string(text[i:i+2])]
	if want == 0 {
		return 0
	}
	letters := make([]byte, 0, 40)
	at := i
	for ; at < len(text) && len(letters) < want; at++ {
		if isUpper(text[at]) {
			letters = append(letters, text[at])
		} else if text[at] != ' ' || len(letters)%4 != 0 || text[at-1] == ' ' {
			return 0
		}
	}
	if len(letters) < want || at < len(text) && isAlnum(text[at]) {
		return 0
	}
	// ISO 7064 MOD 97-10 with the first four letters at the end, A counting as 10.
	sum := 0
	for _, c := range append(slices.Clone(letters[4:]), letters[:4]...) {
		if isDigit(c) {
			sum = (sum*10 + int(c-'0')) % 97
		} else {
			sum = (sum*100 + int(c-'A') + 10) % 97
		}
	}
	if sum != 1 {
		return 0
	}
	found(Match{"iban", i, at})
	return at - i
}
