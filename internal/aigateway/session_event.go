package aigateway

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// What a second of speech is in bytes. OpenAI's "pcm16" and "audio/pcm" are 16 bits at
// 24 kHz unless they say another rate, its "g711_ulaw", "g711_alaw", "audio/pcmu" and
// "audio/pcma" 8 bits at 8 kHz (developers.openai.com/api/docs/guides/realtime-conversations);
// Gemini Live speaks 16 bits at 24 kHz and hears them at 16 kHz
// (ai.google.dev/gemini-api/docs/live-api/capabilities).
const (
	wideSecond   = 2 * 24_000
	narrowSecond = 8_000
	geminiSecond = 2 * 16_000 // of what it hears
)

// What a second of speech is in tokens. OpenAI: one for 100 ms that are heard and for
// 50 ms that are spoken (developers.openai.com/api/docs/guides/realtime-costs). Gemini:
// 32 (ai.google.dev/gemini-api/docs/tokens), of which its live models use fewer.
const (
	heardASecond  = 10
	spokenASecond = 20
	geminiASecond = 32
)

// maxName bounds the name of an answer or event that is remembered, in bytes; OpenAI's
// have below 40.
const maxName = 128

// errNotJSON refuses what a provider might read in another way than it is read here.
var errNotJSON = errors.New("the message is not JSON")

// words are all strings that stand under one key: which of several counts depends on
// who reads them.
type words []string

func (w *words) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' {
		return nil
	}
	s := string(b[1 : len(b)-1])
	if strings.IndexByte(s, '\\') >= 0 && json.Unmarshal(b, &s) != nil {
		return nil
	}
	*w = append(*w, s)
	return nil
}

func (w words) has(word string) bool {
	for _, s := range w {
		if s == word {
			return true
		}
	}
	return false
}

// last is what most parsers take, as far as it is remembered.
func (w words) last() string {
	if len(w) == 0 {
		return ""
	}
	s := w[len(w)-1]
	return s[:min(len(s), maxName)]
}

// size counts the bytes of the strings, or of whatever else, under one key.
type size int64

func (n *size) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
	case b[0] == '"':
		*n += size(len(b) - 2)
	default:
		*n += size(len(b))
	}
	return nil
}

// bound is a number of tokens that an answer may have. What is no number, as "inf",
// and the larger of several, counts.
type bound struct {
	said, open bool
	n          int64
}

func (m *bound) UnmarshalJSON(b []byte) error {
	n := wholeNumber(b)
	m.said, m.open, m.n = true, m.open || n == 0, max(m.n, n)
	return nil
}

// void tells a null from what is not there.
type void bool

func (v *void) UnmarshalJSON(b []byte) error { *v = string(b) == "null"; return nil }

// terms are what a session, or one answer, is to be like, by the names of OpenAI's
// realtime API, its earlier version and Gemini Live.
type terms struct {
	Model    words  `json:"model"`
	Max      bound  `json:"max_output_tokens"`
	OldMax   bound  `json:"max_response_output_tokens"`
	OldHears words  `json:"input_audio_format"`
	OldSays  words  `json:"output_audio_format"`
	Audio    sounds `json:"audio"`
	Config   struct {
		Max      bound `json:"maxOutputTokens"`
		SnakeMax bound `json:"max_output_tokens"`
	} `json:"generationConfig"`
	SnakeConfig struct {
		Max      bound `json:"maxOutputTokens"`
		SnakeMax bound `json:"max_output_tokens"`
	} `json:"generation_config"`
}

type sounds struct {
	Input, Output struct {
		Format struct {
			Type words `json:"type"`
			Rate bound `json:"rate"`
		} `json:"format"`
	}
}

// most is how many tokens an answer may have by these terms; 0: as many as it likes.
func (t *terms) most() (n int64, said bool) {
	open := false
	for _, b := range []bound{t.Max, t.OldMax, t.Config.Max, t.Config.SnakeMax, t.SnakeConfig.Max, t.SnakeConfig.SnakeMax} {
		said, open, n = said || b.said, open || b.open, max(n, b.n)
	}
	if open {
		n = 0
	}
	return n, said
}

// second is how many bytes a second of speech has at least, by these terms; 0 where
// they do not say.
func (t *terms) second() int64 {
	least := int64(0)
	take := func(n int64) {
		if n = max(n, narrowSecond); least == 0 || n < least {
			least = n
		}
	}
	formats := append(append(words(nil), t.OldHears...), t.OldSays...)
	formats = append(append(formats, t.Audio.Input.Format.Type...), t.Audio.Output.Format.Type...)
	for _, f := range formats {
		if strings.HasPrefix(f, "g711") || f == "audio/pcmu" || f == "audio/pcma" {
			take(narrowSecond)
		}
	}
	for _, rate := range []int64{t.Audio.Input.Format.Rate.n, t.Audio.Output.Format.Rate.n} {
		if rate > 0 {
			take(2 * rate)
		}
	}
	return least
}

// request is a message of the client, as far as it matters.
type request struct {
	Type     words `json:"type"`
	ID       words `json:"event_id"`
	Session  terms `json:"session"`
	Response terms `json:"response"`
	Setup    terms `json:"setup"` // of Gemini Live
	Audio    size  `json:"audio"`
	Item     struct {
		Content []struct {
			Audio size `json:"audio"`
		} `json:"content"`
	} `json:"item"`
	Live struct {
		Audio  struct{ Data size }   `json:"audio"`
		Chunks []struct{ Data size } `json:"mediaChunks"`
	} `json:"realtimeInput"`

	bytes int64 // of all of it
}

// readRequest reads a message of the client. What is no JSON object is refused:
// another reader might find something in it.
func readRequest(message []byte) (*request, error) {
	r := request{bytes: int64(len(message))}
	var odd *json.UnmarshalTypeError // of one of the values: the provider will say so
	if err := json.Unmarshal(message, &r); err != nil && !errors.As(err, &odd) {
		return nil, errNotJSON
	}
	return &r, nil
}

// asks reports whether the message asks for an answer.
func (r *request) asks() bool { return r.Type.has("response.create") }

// silent are messages that add nothing to what the model will read.
var silent = map[string]bool{
	"input_audio_buffer.commit": true, "input_audio_buffer.clear": true, "output_audio_buffer.clear": true, "response.cancel": true,
	"conversation.item.delete": true, "conversation.item.truncate": true, "conversation.item.retrieve": true,
}

// adds is what the message adds to what the model will read: bytes of text, and of
// speech in base64.
func (r *request) adds() (text, speech int64) {
	if len(r.Type) == 1 && silent[r.Type[0]] {
		return 0, 0
	}
	speech = int64(r.Audio + r.Live.Audio.Data)
	for _, c := range r.Item.Content {
		speech += int64(c.Audio)
	}
	for _, c := range r.Live.Chunks {
		speech += int64(c.Data)
	}
	text = max(0, r.bytes-speech)
	if speech > 0 && text < 512 {
		text = 0 // only what is around it
	}
	return text, speech
}

// event is a message of the model, as far as it matters.
type event struct {
	Type     words `json:"type"`
	Of       words `json:"response_id"`
	Response struct {
		ID     words `json:"id"`
		Status words `json:"status"`
		Beside void  `json:"conversation_id"` // null: it is in no conversation
	} `json:"response"`
	Delta   size  `json:"delta"`
	Session terms `json:"session"`
	Error   struct {
		About words `json:"event_id"`
	} `json:"error"`

	Content struct { // of Gemini Live
		Turn struct {
			Parts []struct {
				Text size                `json:"text"`
				Data struct{ Data size } `json:"inlineData"`
			} `json:"parts"`
		} `json:"modelTurn"`
		Transcript struct{ Text size } `json:"outputTranscription"`
	} `json:"serverContent"`
	Call  size `json:"toolCall"`
	Usage size `json:"usageMetadata"`
}

// sign is what an event means to the answer it is about.
type sign struct {
	id           string // of the answer; "" where it has none
	fresh        bool   // it begins
	done         bool   // it is complete
	failed       bool   // and nothing of it came to be
	text, speech int64  // bytes that it brings; speech in base64
}

func readEvent(message []byte) *event {
	var e event
	_ = json.Unmarshal(message, &e) // what cannot be read says nothing of an answer
	return &e
}

// signOf finds out what the event means; false when it is about no answer.
func (e *event) signOf(kind usage.Kind) (sign, bool) {
	if kind == usage.Gemini {
		return e.live()
	}
	typ := e.Type.last()
	switch {
	case typ == "response.created":
		return sign{id: e.Response.ID.last(), fresh: true}, true
	case typ == "response.done":
		return sign{id: e.Response.ID.last(), done: true, failed: e.Response.Status.has("failed")}, true
	case !strings.HasPrefix(typ, "response.") || !strings.HasSuffix(typ, ".delta"):
		return sign{}, false
	case typ == "response.audio.delta", typ == "response.output_audio.delta":
		return sign{id: e.Of.last(), speech: int64(e.Delta)}, true
	}
	return sign{id: e.Of.last(), text: int64(e.Delta)}, true
}

// live is an event of Gemini Live, where an answer has no name and ends as it is said
// what it consumed.
func (e *event) live() (sign, bool) {
	s := sign{text: int64(e.Content.Transcript.Text + e.Call), done: e.Usage > 0}
	for _, p := range e.Content.Turn.Parts {
		s.text += int64(p.Text)
		s.speech += int64(p.Data.Data)
	}
	return s, s.done || s.text+s.speech > 0
}

// usageOf is what a message says that an answer consumed, and which model there is.
func usageOf(kind usage.Kind, message []byte) usage.Usage {
	m := usage.NewMeter(kind, usage.JSON)
	m.Message(message)
	return m.Usage()
}

// pace says how bytes of one direction become tokens.
type pace struct {
	second int64 // bytes of a second of speech
	tokens int64 // of it
}

// tokens are those of so many bytes of base64, rounded up.
func (p pace) of(speech int64) int64 {
	bytes := min(speech, 1<<40) / 4 * 3
	return (bytes*p.tokens + p.second - 1) / p.second
}

// textTokens are those of so many bytes of text, rounded up.
func textTokens(bytes int64) int64 {
	return (bytes + usage.BytesPerToken - 1) / usage.BytesPerToken
}
