package translate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// AnswerOptions are what an answer needs that its provider does not say.
type AnswerOptions struct {
	Model string // the name the client is to see as the model's; "": the provider's own
	// ID is for answers that come without an id. It should be new for each answer, as
	// the ids of tool calls are made from it where the provider gives none.
	ID  string
	Now func() time.Time // for "created" of Chat; nil: time.Now
	// IncludeUsage ends streams to Chat with a chunk that holds the usage, as the
	// request's stream_options.include_usage asks.
	IncludeUsage bool
}

// Answer turns a whole JSON answer of a provider's API into the one that the client
// speaks. What the provider says of an error comes back as a *StreamError; any other
// error means that doc cannot be understood or that the client's API has no form for
// it, such as tool arguments that are not a JSON object.
func Answer(doc []byte, from, to API, o AnswerOptions) (out []byte, lost Losses, err error) {
	if !understood(from, to) {
		return nil, nil, fmt.Errorf("translate an answer: from %q to %q is not possible", from, to)
	}
	var whole answerWhole
	r := newAnswerReader(from, usage.JSON, o, &whole)
	r.meter.Write(doc)
	if err := sourceOf(from, r).whole(doc); err != nil {
		return nil, nil, fmt.Errorf("translate an answer: %w", err)
	}
	if err := whole.settle(&r.lost); err != nil {
		return nil, nil, fmt.Errorf("translate an answer: %w", err)
	}
	out, err = whole.document(to, o, &r.lost)
	if err != nil {
		return nil, nil, fmt.Errorf("translate an answer: %w", err)
	}
	return out, r.lost.names, nil
}

// understood reports whether there is something to translate.
func understood(from, to API) bool {
	apis := []API{Anthropic, Chat, Gemini}
	return from != to && slices.Contains(apis, from) && slices.Contains(apis, to)
}

// answerSink takes an answer in the neutral form, piece by piece. Tool calls are
// numbered from 0 in the order they begin; the pieces of several may come mixed.
type answerSink interface {
	begin(h answerHead) error // first, once
	text(t literal) error
	think(t literal) error
	call(n int, id, name string) error
	arguments(n int, t literal) error // a piece of the call's arguments, which are JSON
	endCall(n int) error              // no more of its arguments come
	ping()                            // nothing came but a sign of life
	end(e answerEnd) error            // last, once
}

// answerHead is what is known as an answer begins.
type answerHead struct {
	id, model string
	usage     usage.Usage // as far as it is known by then
}

// answerEnd is what is known once an answer is complete.
type answerEnd struct {
	stop     stopReason
	sequence literal // the stop sequence that was met, where the provider says so
	usage    usage.Usage
}

// stopReason is why an answer ended.
type stopReason int

const (
	stopUnknown  stopReason = iota
	stopEnd                 // the model was done
	stopLength              // it ran out of tokens
	stopTool                // it waits for the results of its tool calls
	stopSequence            // it wrote a stop sequence
	stopRefusal             // it refused, or a filter stopped it
)

// answerSource reads answers of one API and tells a sink.
type answerSource interface {
	whole(doc []byte) error
	event(data []byte) error // the data of one server-sent event
	close() error            // the stream has no more events
}

func sourceOf(from API, r *answerReader) answerSource {
	switch from {
	case Anthropic:
		return &anthropicAnswers{answerReader: r}
	case Chat:
		return &chatAnswers{answerReader: r}
	default:
		return &geminiAnswers{answerReader: r}
	}
}

// errBrokeOff is for streams that stop before their protocol says that they end.
var errBrokeOff = errors.New("the answer broke off before its end")

// maxCalls is how many tool calls one answer may have. Models make a few dozen at most.
const maxCalls = 1024

// answerReader is what the sources of all APIs have in common.
type answerReader struct {
	sink  answerSink
	opt   AnswerOptions
	meter *usage.Meter
	lost  answerLosses
	id    string
	calls int // tool calls begun
	begun bool
	ended bool
}

func newAnswerReader(from API, f usage.Framing, o AnswerOptions, sink answerSink) *answerReader {
	kinds := map[API]usage.Kind{Anthropic: usage.Anthropic, Chat: usage.Chat, Gemini: usage.Gemini}
	return &answerReader{sink: sink, opt: o, meter: usage.NewMeter(kinds[from], f)}
}

// begin tells the sink that an answer begins; only the first time counts.
func (r *answerReader) begin(id string) error {
	if r.begun {
		return nil
	}
	r.begun, r.id = true, id
	if r.id == "" {
		r.id = r.opt.ID
	}
	u := r.meter.Usage()
	model := r.opt.Model
	if model == "" {
		model = u.Model
	}
	return r.sink.begin(answerHead{id: r.id, model: model, usage: u})
}

// call begins a tool call and returns its number.
func (r *answerReader) call(id, name string) (int, error) {
	n := r.calls
	switch {
	case n >= maxCalls:
		return 0, errors.New("the answer has too many tool calls")
	case name == "":
		return 0, errors.New("a tool call has no name")
	case id == "":
		id = madeCallID(r.id, n, name)
	}
	r.calls++
	return n, r.sink.call(n, id, name)
}

// end tells the sink that the answer is complete.
func (r *answerReader) end(stop stopReason, sequence literal) error {
	if stop == stopUnknown {
		return errors.New("the answer ended without saying why")
	}
	// Some providers say "stop" behind tool calls, and a client that is told of
	// calls where there are none waits for nothing.
	switch {
	case stop == stopEnd && r.calls > 0:
		stop = stopTool
	case stop == stopTool && r.calls == 0:
		stop = stopEnd
	}
	r.ended = true
	return r.sink.end(answerEnd{stop: stop, sequence: sequence, usage: r.meter.Usage()})
}

// answerLosses gathers the names of what was left out.
type answerLosses struct{ names Losses }

func (l *answerLosses) add(name string) {
	if !slices.Contains(l.names, name) {
		l.names = append(l.names, name)
	}
}

func (l *answerLosses) addIf(name string, raw json.RawMessage) {
	if present(raw) {
		l.add(name)
	}
}
