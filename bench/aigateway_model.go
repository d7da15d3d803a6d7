package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// wish is what a client wants of the fake model. It stands in the text of its
// message, so that it gets through every gateway, and the answer follows from it: the
// client knows each byte that the model sends.
type wish struct {
	seed   uint64        // of the words
	deltas int           // of a stream
	pace   time.Duration // before each delta; whole milliseconds
	wait   time.Duration // before the answer; whole milliseconds
}

const wishBegin, wishEnd = "wish:", ";"

func (o wish) String() string {
	return fmt.Sprintf("%s%d,%d,%d,%d%s", wishBegin, o.seed, o.deltas, o.pace.Milliseconds(), o.wait.Milliseconds(), wishEnd)
}

// Bounds of a wish, so that no request holds the model for long.
const (
	maxDeltas = 10_000
	maxWait   = 10 * time.Second
)

func readWish(body []byte) (o wish, ok bool) {
	_, rest, _ := bytes.Cut(body, []byte(wishBegin))
	text, _, ok := bytes.Cut(rest, []byte(wishEnd))
	fields := strings.Split(string(text), ",")
	if !ok || len(fields) != 4 {
		return wish{}, false
	}
	var n [4]uint64
	for i, f := range fields {
		var err error
		if n[i], err = strconv.ParseUint(f, 10, 32); err != nil {
			return wish{}, false
		}
	}
	o = wish{seed: n[0], deltas: int(n[1]), pace: time.Duration(n[2]) * time.Millisecond, wait: time.Duration(n[3]) * time.Millisecond}
	return o, o.deltas <= maxDeltas && o.pace <= maxWait && o.wait <= maxWait
}

// form is a form of API.
type form int

const (
	anthropicForm form = iota
	openaiForm
)

func (f form) path() string {
	if f == openaiForm {
		return "/openai/v1/chat/completions"
	}
	return "/anthropic/v1/messages"
}

// What every answer of the fake model says that it consumed.
const tokensIn, tokensOut = 40, 400

// words of the fake model. Some are written in ways that are lost when a gateway
// reads JSON and writes it again.
var vocabulary = []string{
	"word", "sandbox", "the", "a", "of", "molting", "lobster", "caf\u00e9", "\u6f22\u5b57", "\U0001f99e", `\u00e9`, `\u003cb\u003e`, `\/`, `\"quoted\"`, `line\n`, "<&>",
}

// events are the stream that answers a wish, each as it is sent, made when it is asked
// for: a model answers before it knows what it will say. delta says that one has text.
func (o wish) events(f form) iter.Seq2[[]byte, bool] {
	if f == openaiForm {
		return o.chunks
	}
	return o.messageEvents
}

func (o wish) words(f form) func() string {
	random := rand.New(rand.NewPCG(o.seed, uint64(f)))
	return func() string { return vocabulary[random.IntN(len(vocabulary))] + " " }
}

// chunks are OpenAI's form.
func (o wish) chunks(yield func([]byte, bool) bool) {
	chunk := func(choices, usage string) []byte {
		return fmt.Appendf(nil, "data: {\"id\":\"chatcmpl-%d\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"bench-x\",\"choices\":[%s],\"usage\":%s}\n\n", o.seed, choices, usage)
	}
	if !yield(chunk(`{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}`, "null"), false) {
		return
	}
	word := o.words(openaiForm)
	for range o.deltas {
		if !yield(chunk(`{"index":0,"delta":{"content":"`+word()+`"},"finish_reason":null}`, "null"), true) {
			return
		}
	}
	for _, last := range [][]byte{
		chunk(`{"index":0,"delta":{},"finish_reason":"stop"}`, "null"),
		chunk("", fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, tokensIn, tokensOut, tokensIn+tokensOut)),
		[]byte("data: [DONE]\n\n"),
	} {
		if !yield(last, false) {
			return
		}
	}
}

// messageEvents are Anthropic's form.
func (o wish) messageEvents(yield func([]byte, bool) bool) {
	event := func(kind, more string) []byte {
		return fmt.Appendf(nil, "event: %s\ndata: {\"type\":\"%s\"%s}\n\n", kind, kind, more)
	}
	if !yield(event("message_start", fmt.Sprintf(`,"message":{"id":"msg_%d","type":"message","role":"assistant","model":"bench-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":1}}`, o.seed, tokensIn)), false) ||
		!yield(event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`), false) {
		return
	}
	word := o.words(anthropicForm)
	for range o.deltas {
		if !yield(event("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"`+word()+`"}`), true) {
			return
		}
	}
	for _, last := range [][]byte{
		event("content_block_stop", `,"index":0`),
		event("message_delta", fmt.Sprintf(`,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":%d}`, tokensOut)),
		event("message_stop", ""),
	} {
		if !yield(last, false) {
			return
		}
	}
}

// whole is all of a stream.
func (o wish) whole(f form) []byte {
	var all []byte
	for event := range o.events(f) {
		all = append(all, event...)
	}
	return all
}

// plain is the answer to a wish that wants no stream, of about 430 bytes.
func (o wish) plain(f form) []byte {
	text := strings.Repeat("word ", 42)
	if f == openaiForm {
		return fmt.Appendf(nil, `{"id":"chatcmpl-%d","object":"chat.completion","created":1767225600,"model":"bench-x","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
			o.seed, text, tokensIn, tokensOut, tokensIn+tokensOut)
	}
	return fmt.Appendf(nil, `{"id":"msg_%d","type":"message","role":"assistant","model":"bench-x","content":[{"type":"text","text":"%s"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":%d}}`,
		o.seed, text, tokensIn, tokensOut)
}

// modelCount is what the fake model says of itself at countPath.
type modelCount struct {
	Calls int64 `json:"calls"`
}

const countPath = "/count"

// fakeModel answers wishes at every path, by the form that the path ends in.
func fakeModel() http.Handler {
	var calls atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == countPath {
			json.NewEncoder(w).Encode(modelCount{calls.Load()})
			return
		}
		// It answers as soon as it has the whole document, be there an end of the body or
		// not yet. That end is read in the end, as the connection is of use no more else.
		http.NewResponseController(w).EnableFullDuplex() // HTTP/1 always can
		defer io.Copy(io.Discard, r.Body)
		var body json.RawMessage
		err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&body)
		o, ok := readWish(body)
		if err != nil || !ok {
			http.Error(w, `{"error":{"message":"no wish"}}`, http.StatusBadRequest)
			return
		}
		calls.Add(1)
		f := anthropicForm
		if strings.HasSuffix(r.URL.Path, "/chat/completions") {
			f = openaiForm
		}
		if o.wait > 0 && pause(r.Context(), o.wait) != nil {
			return
		}
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(o.plain(f))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		o.stream(w, r, f)
	})
}

// stream sends each event by itself.
func (o wish) stream(w http.ResponseWriter, r *http.Request, f form) {
	rc := http.NewResponseController(w)
	for event, delta := range o.events(f) {
		if delta && o.pace > 0 && pause(r.Context(), o.pace) != nil {
			return
		}
		if _, err := w.Write(event); err != nil || rc.Flush() != nil {
			return
		}
	}
}
