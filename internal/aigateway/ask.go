package aigateway

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// ask is what a request body says of the call before it is made. What cannot be
// read counts as not said: the upstream judges the body, not the gateway.
type ask struct {
	model  string
	twice  bool // more than one member names one, in whatever writing
	stream bool
	// includeUsage is whether a stream is to end with its usage, as Chat Completions
	// has it.
	includeUsage bool
	// maxOutput is how many tokens the answer may have; 0 where it does not say.
	maxOutput int64
	// answers is how many images, or answers side by side, are asked for; 0 where it
	// does not say.
	answers int64
	prompt  Prompt
}

// Prompt is the beginning of what an agent's user messages say, by which the reason
// for a call can be told.
type Prompt struct {
	First string // the text of the first one
	Last  string // that of the last one with text in it, newest first of its parts
	// Before is the text of the user message before Last, for who puts something of
	// its own at the end.
	Before string
}

const (
	maxPromptText = 512 // bytes of each text of a Prompt
	// maxLookBack bounds how many messages are looked at from the end.
	maxLookBack = 400
)

// readAsk looks through a request body once.
func readAsk(doc []byte) ask {
	var a ask
	var talk []byte
	named := false
	eachMember(doc, func(key, value []byte) bool {
		if isNamed(key, "model") {
			if a.twice = named; !named {
				a.model, named = modelName(value), true
			}
			return true
		}
		switch string(key) {
		case `"stream"`:
			a.stream = string(value) == "true"
		case `"stream_options"`:
			eachMember(value, func(key, value []byte) bool {
				a.includeUsage = a.includeUsage || string(key) == `"include_usage"` && string(value) == "true"
				return true
			})
		case `"max_tokens"`, `"max_completion_tokens"`, `"max_output_tokens"`, `"maxTokens"`, `"max_tokens_to_sample"`:
			a.maxOutput = max(a.maxOutput, wholeNumber(value))
		case `"generationConfig"`, `"generation_config"`, `"inferenceConfig"`, `"options"`:
			eachMember(value, func(key, value []byte) bool {
				switch string(key) {
				case `"maxOutputTokens"`, `"max_output_tokens"`, `"maxTokens"`, `"num_predict"`:
					a.maxOutput = max(a.maxOutput, wholeNumber(value))
				case `"candidateCount"`, `"candidate_count"`:
					a.answers = max(a.answers, wholeNumber(value))
				}
				return true
			})
		case `"n"`:
			a.answers = max(a.answers, wholeNumber(value))
		case `"messages"`, `"input"`, `"contents"`:
			talk = value
		}
		return true
	})
	a.prompt = readPrompt(talk)
	return a
}

// wholeNumber reads a count; 0 when it is none, or no sensible one.
func wholeNumber(value []byte) int64 {
	n, err := strconv.ParseInt(string(value[:min(len(value), 20)]), 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0
	}
	return n
}

// readPrompt finds the user's texts in a conversation, in the forms of Anthropic,
// OpenAI (both), Google and Amazon.
func readPrompt(talk []byte) Prompt {
	var p Prompt
	if len(talk) > 0 && talk[0] == '"' { // OpenAI's "input" may be one text
		p.First = textOf(talk)
		p.Last = p.First
		return p
	}
	var last [maxLookBack][]byte // of the elements, in a ring
	n := 0
	eachElement(talk, func(value []byte) bool {
		if p.First == "" && n < maxLookBack {
			p.First = userText(value)
		}
		last[n%maxLookBack] = value
		n++
		return true
	})
	for i := n - 1; i >= max(0, n-maxLookBack); i-- {
		text := userText(last[i%maxLookBack])
		switch {
		case text == "":
		case p.Last == "":
			p.Last = text
		default:
			p.Before = text
			return p
		}
	}
	return p
}

// userText is the beginning of the text of a message, when it is the user's and has
// any: the answer of a tool is sent as the user's too, but is none of it.
func userText(message []byte) string {
	user, text := false, ""
	eachMember(message, func(key, value []byte) bool {
		switch string(key) {
		case `"role"`:
			user = string(value) == `"user"`
		case `"content"`, `"parts"`:
			text = contentText(value)
		}
		return true
	})
	if !user {
		return ""
	}
	return text
}

// contentText is a message's content: one text, or the first of its parts that is
// text.
func contentText(content []byte) (text string) {
	if len(content) > 0 && content[0] == '"' {
		return textOf(content)
	}
	eachElement(content, func(part []byte) bool {
		tool := false
		eachMember(part, func(key, value []byte) bool {
			switch string(key) {
			case `"type"`:
				tool = bytes.Contains(value, []byte("tool")) || bytes.Contains(value, []byte("function"))
			case `"text"`:
				text = textOf(value)
			}
			return true
		})
		if tool {
			text = ""
		}
		return text == ""
	})
	return text
}

// textOf is the beginning of a JSON string; "" when it is none.
func textOf(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	cut := value[:min(len(value)-1, maxPromptText)]
	for range 12 { // an escape that was cut through
		var s string
		if json.Unmarshal(append(cut[:len(cut):len(cut)], '"'), &s) == nil {
			return strings.TrimRight(s, "\uFFFD") // half a character
		}
		if len(cut) < 2 {
			return ""
		}
		cut = cut[:len(cut)-1]
	}
	return ""
}
