package translate

import "strings"

// modelVersion is a generation of models, such as 4.6. Names without a number
// ("gemini-flash-latest") are of the newest.
type modelVersion struct{ major, minor int }

func (v modelVersion) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

var newest = modelVersion{major: 1 << 16}

// versionOf reads the generation behind a family's name: "claude-opus-4-6",
// "anthropic/claude-3.7-sonnet", "gpt-4o", "gemini-2.5-flash-lite". Longer numbers are
// dates. ok is false for models of another family.
func versionOf(model, family string) (v modelVersion, ok bool) {
	_, rest, ok := strings.Cut(strings.ToLower(model), family)
	if !ok {
		return v, false
	}
	words := strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune("-._@:/", r) })
	for i, w := range words {
		major, tail := leadingNumber(w)
		if major < 0 || tail != "" && tail[0] >= '0' && tail[0] <= '9' {
			continue
		}
		v.major = major
		if i+1 < len(words) {
			if minor, tail := leadingNumber(words[i+1]); minor >= 0 && tail == "" {
				v.minor = minor
			}
		}
		return v, true
	}
	return newest, true
}

// leadingNumber reads up to two digits; -1 where there are none.
func leadingNumber(w string) (n int, tail string) {
	n = -1
	for len(w) > 0 && n < 10 && w[0] >= '0' && w[0] <= '9' {
		n = max(n, 0)*10 + int(w[0]-'0')
		w = w[1:]
	}
	return n, w
}

// chatModel is what is known of a model of OpenAI's form by its name.
type chatModel struct {
	openAI  bool // OpenAI's own: the bound of the answer is max_completion_tokens
	thinks  bool // it may be told how hard to think; true of unknown ones
	version modelVersion
	series  bool // o1, o3, o4
	mistral bool // ids of calls are nine letters and digits, wherever it runs
	native  bool // it runs at Mistral, who refuse members that they do not know
}

// unthinking are families whose members refuse reasoning_effort.
var unthinking = []string{"gpt-3", "gpt-4", "chatgpt", "-chat", "llama", "gemma", "phi-", "mixtral", "ministral", "mistral", "codestral", "devstral", "pixtral"}

var mistrals = []string{"mistral", "mixtral", "ministral", "magistral", "codestral", "devstral", "pixtral"}

func chatModelOf(model string) (m chatModel) {
	name := strings.ToLower(model[strings.LastIndexByte(model, '/')+1:])
	m.thinks = true
	for _, family := range unthinking {
		m.thinks = m.thinks && !strings.Contains(name, family)
	}
	for _, family := range mistrals {
		m.mistral = m.mistral || strings.Contains(name, family)
	}
	m.native = m.mistral && !strings.ContainsAny(model, "/:") // others say who made it, or its size
	if len(name) > 1 && name[0] == 'o' && name[1] >= '1' && name[1] <= '9' && (len(name) == 2 || name[2] == '-') {
		m.openAI, m.series = true, true
		return m
	}
	if strings.HasPrefix(name, "gpt-") && !strings.HasPrefix(name, "gpt-oss") {
		m.openAI = true
		m.version, _ = versionOf(name, "gpt-")
	}
	return m
}

// reasons tells whether it is one of OpenAI's that refuse temperature and top_p other
// than 1 (https://platform.openai.com/docs/guides/latest-model#parameter-compatibility).
func (m chatModel) reasons() bool {
	return m.openAI && m.thinks && (m.series || m.version.atLeast(5, 0))
}
