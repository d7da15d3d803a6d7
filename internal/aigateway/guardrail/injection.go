package guardrail

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"unicode/utf8"
)

// injection finds what a page, a mail or a file says to the model that reads it
// rather than to a person. It guesses: a text about such attacks looks like one.
type injection struct{}

func (injection) Name() string { return Injection }

const (
	window     = 200 // bytes in which a phrase is looked for
	minHidden  = 4   // letters without width that follow each other; emoji have fewer
	minEncoded = 48  // letters of base64 that are decoded
	maxEncoded = 8 << 10
)

// phrase is a way to give orders. The literals are in lower case, and one begins it.
type phrase struct {
	kind     string
	literals []string
	form     *regexp.Regexp // from the literal on; RE2 takes linear time
}

var phrases = []phrase{
	{"ignore_instructions", []string{"ignore ", "disregard ", "forget ", "override "}, regexp.MustCompile(
		`(?i)^\w+\s+(?:(?:all|any|the|your|of|my|these|those|every|everything)\s+){0,4}(?:previous|prior|above|earlier|preceding|original|system|existing|other|former)\s+(?:\w+\s+){0,2}(?:instruction|prompt|rule|message|direction|guideline|command|context)s?\b`)},
	{"ignore_instructions", []string{"ignore ", "forget "}, regexp.MustCompile(`(?i)^\w+\s+(?:all\s+)?(?:your|everything)\s+(?:instructions|rules|guidelines|you\s+(?:were|have\s+been)\s+told)\b`)},
	{"conceal", []string{"do not ", "don't ", "without "}, regexp.MustCompile(
		`(?i)^(?:do\s+not|don't|without)\s+(?:ever\s+)?(?:tell|telling|inform|informing|mention|mentioning|notify|notifying|alert|alerting|reveal|revealing)\s+(?:this\s+|it\s+|that\s+|anything\s+)?(?:to\s+)?the\s+(?:user|human|owner)\b`)},
	{"reveal_prompt", []string{"reveal ", "print ", "repeat ", "output ", "show "}, regexp.MustCompile(`(?i)^\w+\s+(?:me\s+)?(?:your|the)\s+(?:\w+\s+)?(?:system\s+prompt|hidden\s+instructions|initial\s+instructions)\b`)},
	{"new_instructions", []string{"new instructions", "updated instructions", "important instructions"}, regexp.MustCompile(`(?i)^\w+\s+instructions\s*(?:for\s+(?:the\s+)?(?:ai|assistant|model|agent)\b|from\s+(?:the\s+)?(?:system|admin|developer)\b)`)},
	{"fake_turn", []string{"<|im_start|>", "<|system|>", "<|start_header_id|>", "[system](#", "</tool_result>", "<system-reminder>"}, nil},
}

func (injection) Find(_ Subject, text []byte, found func(Match)) {
	findPhrases(text, func(kind string, from, to int) { found(Match{kind, from, to}) })
	findHidden(text, found)
	findEncoded(text, found)
	findImages(text, found)
}

var phraseLiterals = func() literals {
	l := literals{fold: true}
	for i := range phrases {
		for _, text := range phrases[i].literals {
			l.add(text, i)
		}
	}
	return l
}()

// findPhrases finds phrases in any case.
func findPhrases(text []byte, found func(kind string, from, to int)) {
	phraseLiterals.each(text, func(of, i, size int) {
		p := &phrases[of]
		if p.form == nil {
			found(p.kind, i, i+size)
			return
		}
		near := text[i:min(i+window, len(text))]
		if end := bytes.IndexByte(near, 0); end >= 0 {
			near = near[:end]
		}
		if n := len(p.form.Find(near)); n > 0 {
			found(p.kind, i, i+n)
		}
	})
}

// findHidden finds letters that a person does not see: Unicode tags (U+E0000 to
// U+E007F), runs of letters without width, and what turns the writing round.
func findHidden(text []byte, found func(Match)) {
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		kind, n, count := hidden(text[i:])
		switch {
		case kind == "hidden_tags" && count >= minHidden && !flag(text[:i]),
			kind == "zero_width" && count >= minHidden, kind == "text_direction":
			found(Match{kind, i, i + n})
		}
		i += n
	}
}

// hidden measures the run of one kind that b begins with.
func hidden(b []byte) (kind string, size, count int) {
	for size < len(b) {
		r, n := utf8.DecodeRune(b[size:])
		k := ""
		switch {
		case 0xE0000 <= r && r <= 0xE007F:
			k = "hidden_tags"
		case 0x200B <= r && r <= 0x200D, r == 0x2060, r == 0xFEFF, r == 0x180E:
			k = "zero_width"
		case r == 0x202D, r == 0x202E:
			k = "text_direction"
		}
		if size == 0 && k == "" {
			return "", n, 1
		}
		if size > 0 && k != kind {
			break
		}
		kind, size, count = k, size+n, count+1
	}
	return kind, size, count
}

// flag says whether b ends in the black flag, which tags make England's, Scotland's
// or Wales's.
func flag(b []byte) bool { return bytes.HasSuffix(b, []byte("\U0001F3F4")) }

// findEncoded finds phrases in base64.
func findEncoded(text []byte, found func(Match)) {
	for i := 0; i < len(text); {
		n := 0
		for i+n < len(text) && isBase64(text[i+n]) {
			n++
		}
		if n >= minEncoded {
			part := text[i : i+min(n, maxEncoded)/4*4]
			plain := make([]byte, base64.StdEncoding.DecodedLen(len(part)))
			if m, err := base64.StdEncoding.Decode(plain, part); err == nil {
				hit := false
				findPhrases(plain[:m], func(string, int, int) { hit = true })
				if hit {
					found(Match{"encoded_instructions", i, i + n})
				}
			}
		}
		i += n + 1
	}
}

const maxLink = 2 << 10 // bytes

// An image is loaded without a click, so what its address says is sent away. It is
// told when the address is to be filled in, or carries a long value.
var (
	fillIn    = regexp.MustCompile(`[?&=/](?:\{+\w|\$\{|<\w|%7B\w|\[\w)`)
	longValue = regexp.MustCompile(`[?&][\w.-]{1,40}=[\w%+/=-]{48}`)
)

func findImages(text []byte, found func(Match)) {
	eachIndex(text, "![", func(i int) {
		rest := text[i:min(i+maxLink, len(text))]
		n := bytes.Index(rest[:min(len(rest), 300)], []byte("](http"))
		if n < 0 {
			return
		}
		link := rest[n+2:]
		end := bytes.IndexAny(link, ") \n\x00")
		if end < 0 {
			return
		}
		if link = link[:end]; fillIn.Match(link) || longValue.Match(link) {
			found(Match{"image_exfiltration", i, i + n + 2 + end})
		}
	})
}
