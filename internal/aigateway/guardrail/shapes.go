package guardrail

import (
	"bytes"
	"strings"
)

// Where APIs put the texts that they stream, as paths of member names; arrays on the
// way do not count. The sources are the providers' references of their streams:
// Anthropic Messages, OpenAI Chat Completions, Completions and Responses, Google
// generateContent, Amazon Converse, Cohere v2, Ollama, Hugging Face text generation
// and Cloudflare Workers AI. The event that opens a block of Anthropic's may hold the
// beginning of its text.
var streamed = []struct {
	path  string
	alias string // the path of the text that this is a part of; "" if of its own
	place string
}{
	{"delta.text", "", placeText},
	{"delta.thinking", "", placeThinking},
	{"delta.partial_json", "", placeArguments},
	{"content_block.text", "delta.text", placeText},
	{"content_block.thinking", "delta.thinking", placeThinking},
	{"completion", "", placeText},
	{"choices.text", "", placeText},
	{"choices.delta.content", "", placeText},
	{"choices.delta.content.text", "", placeText},              // Mistral
	{"choices.delta.content.thinking.text", "", placeThinking}, // Mistral
	{"choices.delta.refusal", "", placeText},
	{"choices.delta.reasoning_content", "", placeThinking}, // DeepSeek and others
	{"choices.delta.reasoning", "", placeThinking},         // OpenRouter and others
	{"choices.delta.reasoning_details.text", "", placeThinking},
	{"choices.delta.reasoning_details.summary", "", placeThinking},
	{"choices.delta.tool_calls.function.arguments", "", placeArguments},
	{"choices.delta.tool_calls.custom.input", "", placeArguments},
	{"choices.delta.function_call.arguments", "", placeArguments},
	{"delta", "", placeText},                                                              // Responses
	{"candidates.content.parts.text", "", placeText},                                      // Google
	{"candidates.content.parts.functionCall.partialArgs.stringValue", "", placeArguments}, // Google Vertex
	{"delta.reasoningContent.text", "", placeThinking},                                    // Amazon
	{"delta.toolUse.input", "", placeArguments},                                           // Amazon
	{"delta.message.content.text", "", placeText},                                         // Cohere
	{"delta.message.content.thinking", "", placeThinking},                                 // Cohere
	{"delta.message.tool_plan", "", placeThinking},                                        // Cohere
	{"delta.message.tool_calls.function.arguments", "", placeArguments},                   // Cohere
	{"message.content", "", placeText},                                                    // Ollama
	{"message.thinking", "", placeThinking},                                               // Ollama
	{"response", "", placeText},                                                           // Ollama, Workers AI
	{"thinking", "", placeThinking},                                                       // Ollama
	{"token.text", "", placeText},                                                         // Hugging Face
}

// Paths that findings in joined texts have.
const (
	placeText      = "stream text"
	placeThinking  = "stream thinking"
	placeArguments = "stream arguments"
)

// apart are members that tell texts of one path apart: where the block, the call or
// the choice stands, whether a part is a thought, which argument it is of. A member
// that is missing is like one that is 0 or false.
var apart = []string{"index", "output_index", "content_index", "summary_index", "contentBlockIndex", "thought", "jsonPath"}

// forest is what paths of streamed texts look like while a document is walked.
type forest struct {
	words  [maxName + 1][]word // the names that mean something, by their lengths
	count  uint8               // of them; the first has the number 1
	next   [][]uint8           // by node and word: the node of the member; dead: none
	leaf   []uint8             // by node: the leaf whose texts stand there; 0: none
	places []string            // by leaf
	apart  uint8               // the words from here on are those of apart
}

type word struct {
	text string
	id   uint8
}

const (
	dead     uint8 = 0 // no streamed text is below
	rootNode uint8 = 1
)

// Leaves that are no member's of a document.
const (
	noLeaf   uint8 = 0
	dataLeaf uint8 = 1 // a server-sent event's data that is no JSON: Replicate
)

var (
	streamPaths = growForest()
	eventLeaf   = streamPaths.leaf[streamPaths.next[rootNode][streamPaths.word([]byte("delta"), false)]] // of Responses
)

func growForest() *forest {
	f := &forest{places: []string{"", placeText}}
	for _, s := range streamed {
		for _, name := range strings.Split(s.path, ".") {
			f.learn(name)
		}
	}
	f.apart = f.count + 1
	for _, name := range apart {
		f.learn(name)
	}
	f.node() // dead
	f.node() // root
	leaves := map[string]uint8{}
	for _, s := range streamed {
		at := rootNode
		for _, name := range strings.Split(s.path, ".") {
			id := f.word([]byte(name), false)
			if f.next[at][id] == dead {
				n := f.node()
				f.next[at][id] = n
			}
			at = f.next[at][id]
		}
		if s.alias != "" {
			f.leaf[at] = leaves[s.alias]
			continue
		}
		f.leaf[at] = uint8(len(f.places))
		leaves[s.path] = f.leaf[at]
		f.places = append(f.places, s.place)
	}
	return f
}

func (f *forest) learn(name string) {
	if f.word([]byte(name), false) == 0 {
		f.count++
		f.words[len(name)] = append(f.words[len(name)], word{name, f.count})
	}
}

func (f *forest) node() uint8 {
	f.next = append(f.next, make([]uint8, f.count+1))
	f.leaf = append(f.leaf, noLeaf)
	return uint8(len(f.next) - 1)
}

// word is which name it is; 0 for one that means nothing.
func (f *forest) word(name []byte, esc bool) uint8 {
	if esc && len(name) <= 6*maxName {
		name = plainName(name)
	}
	if len(name) > maxName {
		return 0
	}
	for _, w := range f.words[len(name)] {
		if string(name) == w.text {
			return w.id
		}
	}
	return 0
}

// delta is a piece of a streamed text: a JSON string without its quotes, or data.
type delta struct {
	raw, size int // in src
	esc       bool
	leaf      uint8
	gap       bool   // it is a line break, which stands nowhere in src
	key       uint64 // the same for all pieces of one text
}

// FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/
const (
	fnvOffset uint64 = 14695981039346656037
	fnvPrime  uint64 = 1099511628211
)

const maxApart = 128 // bytes of a value that tells texts apart

// mixed64 is a number for a value of a member that tells texts apart.
func mixed64(word uint8, value []byte) uint64 {
	h := (fnvOffset ^ uint64(word)) * fnvPrime
	for _, c := range value[:min(len(value), maxApart)] {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

// nothing says whether a scalar is what a missing member would be.
func nothing(value []byte) bool {
	switch string(value) {
	case "0", "null", "false":
		return true
	}
	return false
}

// lineParts finds what a line of a stream says. data: it is behind "data:" of a
// server-sent event. A carriage return at its end does not count, nor, as the
// standard has it, one space behind the colon.
func lineParts(line []byte) (from, to int, data bool) {
	to = len(bytes.TrimSuffix(line, []byte("\r")))
	if rest, ok := bytes.CutPrefix(line[:to], []byte("data:")); ok {
		from, data = to-len(rest), true
		if len(rest) > 0 && rest[0] == ' ' {
			from++
		}
	}
	return from, to, data
}

// endsEvent says whether a line that says this is the one behind an event.
func endsEvent(said []byte, data bool) bool { return !data && len(bytes.TrimSpace(said)) == 0 }

// line takes in what a stream's line says, which is src[from:to]: its streamed texts
// as deltas, the others as pieces. Where it is data that begins like a document, of
// which the event's next lines may be the rest, it takes nothing in and returns true.
func (t *texts) line(from, to int, data bool) (begins bool) {
	if t.json = t.doc(from, to); t.json {
		return false
	}
	if data && opening(t.src[from:to]) != 0 {
		return true
	}
	t.loose(from, to, data)
	return false
}

// alone takes in what a line of data says, whatever the next lines are.
func (t *texts) alone(from, to int) {
	if t.line(from, to, true) {
		t.loose(from, to, true)
	}
}

// loose takes in what a line says that is no JSON: it is one text.
func (t *texts) loose(from, to int, data bool) {
	if !data || opening(t.src[from:to]) != 0 {
		t.add(from, to-from, false)
		return
	}
	if t.open { // lines of one event's data have a line break between them
		t.deltas = append(t.deltas, delta{gap: true, leaf: dataLeaf})
	}
	t.open = true
	t.deltas = append(t.deltas, delta{raw: from, size: to - from, leaf: dataLeaf})
}
