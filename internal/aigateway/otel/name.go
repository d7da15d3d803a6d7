package otel

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// other stands for names beyond those that are told apart.
const other = "other"

// How many names are told apart in sums and in names of spans. Models are named by
// agents, which may make up any number of them.
const (
	maxModels    = 200
	maxProviders = 64
	maxAgents    = 256
	maxErrors    = 64
)

// names bounds how many values an attribute has.
type names struct {
	most  int
	other string
	known map[string]bool
}

func newNames(most int, other string) *names {
	return &names{most: most, other: other, known: make(map[string]bool)}
}

// of is the name, or what stands for those that are too many. A name that is not
// known yet becomes known only if it is worthy, so that those who make up names
// cannot crowd out the real ones.
func (n *names) of(name string, worthy bool) string {
	switch {
	case name == "" || n.known[name]:
		return name
	case !worthy || len(n.known) >= n.most:
		return n.other
	}
	n.known[name] = true
	return name
}

// providers are the well-known values of gen_ai.provider.name for providers that the
// gateway calls by other names (registry of gen_ai attributes, conventions 1.41).
var providers = map[string]string{
	"aws-bedrock":      "aws.bedrock",
	"azure-openai":     "azure.ai.openai",
	"google-ai-studio": "gcp.gemini",
	"google-vertex-ai": "gcp.vertex_ai",
	"grok":             "x_ai",
	"mistral":          "mistral_ai",
	"perplexity-ai":    "perplexity",
}

// providerName is gen_ai.provider.name, which must not be missing.
func providerName(name string) string {
	if known, ok := providers[name]; ok {
		return known
	}
	if name == "" {
		return "unknown"
	}
	return name
}

// operations are what the last part of an endpoint's path says, with the well-known
// values of gen_ai.operation.name where one fits (conventions 1.41) and others of
// the same style where none does.
var operations = map[string]string{
	"messages":                    "chat",
	"responses":                   "chat",
	"chat":                        "chat",
	"converse":                    "chat",
	"converse-stream":             "chat",
	"invoke":                      "chat",
	"invoke-with-response-stream": "chat",
	"rawPredict":                  "chat",
	"streamRawPredict":            "chat",
	"realtime":                    "chat",
	"completions":                 "text_completion",
	"generate":                    "text_completion",
	"generateContent":             "generate_content",
	"streamGenerateContent":       "generate_content",
	"predict":                     "generate_content",
	"predictions":                 "generate_content",
	"embeddings":                  "embeddings",
	"embed":                       "embeddings",
	"embedContent":                "embeddings",
	"batchEmbedContents":          "embeddings",
	"rerank":                      "rerank",
	"generations":                 "image_generation",
	"edits":                       "image_generation",
	"variations":                  "image_generation",
	"speech":                      "text_to_speech",
	"transcriptions":              "speech_to_text",
	"translations":                "speech_to_text",
	"moderations":                 "moderation",
	"count_tokens":                "count_tokens",
	"count-tokens":                "count_tokens",
	"input_tokens":                "count_tokens",
	"countTokens":                 "count_tokens",
	"tokenize":                    "count_tokens",
	"models":                      "list_models",
	"tags":                        "list_models",
}

// chatEndings are paths whose last part alone says something else.
var chatEndings = []string{"/chat/completions", "/responses/compact"}

// operation is gen_ai.operation.name of a path below a provider's address. There are
// as many as are listed here, whatever the path is.
func operation(endpoint string) string {
	for _, ending := range chatEndings {
		if strings.HasSuffix(endpoint, ending) {
			return "chat"
		}
	}
	if strings.HasSuffix(endpoint, "/count-tokens:rawPredict") {
		return "count_tokens"
	}
	last := endpoint[strings.LastIndexByte(endpoint, '/')+1:]
	if name, ok := operations[last[strings.LastIndexByte(last, ':')+1:]]; ok {
		return name
	}
	return other
}

// triggers are the reasons that are told apart.
var triggers = []string{"", "user", "channel", "heartbeat", "cron", "subagent", "outside"}

func triggerName(name string) string {
	if slices.Contains(triggers, name) {
		return name
	}
	return other
}

// Bounds of strings, in bytes.
const (
	maxName     = 128
	maxEndpoint = 256
	maxError    = 64
)

// cut shortens s to at most n bytes, between characters. What is left does not hold
// on to the rest.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}

// printable replaces what has no picture: control characters, marks that turn the
// direction of text, and bytes that are no UTF-8, for one of which a whole request
// could not be written.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// clean makes a string that somebody else chose fit to be told.
func clean(s string, most int) string { return cut(printable(s), most) }
