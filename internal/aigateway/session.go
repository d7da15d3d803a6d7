package aigateway

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// maxUnderWay bounds the answers of one session that are asked for or under way.
// OpenAI gives one in its conversation at a time, and others beside it.
const maxUnderWay = 8

// session is a conversation with a realtime model. Each of its answers is asked for,
// held and counted by itself, at the time that it is given.
//
// Messages of the client and of the model are heard on a goroutine each, which may
// both wait for the gate; mu is not held then.
type session struct {
	c     *call
	ctx   context.Context // ends with the session
	place place
	limit bool // the caller may use some models only

	mu      sync.Mutex // guards what follows, and call.rec.notes while the session lasts
	model   tariff     // that is spoken with
	wanted  *tariff    // that the client named later, and the provider has not confirmed
	most    int64      // tokens of an answer, as the session's terms say; 0: not said
	agreed  int64      // the same, as the provider has confirmed it
	hears   pace
	says    pace
	talk    parts // what the next answer reads of what was said before, in tokens
	text    int64 // bytes that the client sent since
	speech  int64 // likewise, in base64
	answers []*reply
	begun   int    // how many there were
	last    string // name of the answer that was completed last

	// What the answers consumed that are counted.
	total   usage.Usage
	cost    price.Money
	unknown bool // the cost of one of them is not known
	missing price.Missing
}

// tariff is a model and what it costs.
type tariff struct {
	name   string
	rates  price.Rates
	priced bool
}

// parts are tokens of text and of speech.
type parts struct{ text, speech int64 }

func (c *call) newSession(ctx context.Context) *session {
	s := &session{c: c, ctx: ctx, limit: !c.rules.AllowsModel(""), hears: pace{wideSecond, heardASecond}, says: pace{wideSecond, spokenASecond}}
	if c.to.ep.Kind == usage.Gemini {
		s.hears, s.says = pace{geminiSecond, geminiASecond}, pace{wideSecond, geminiASecond}
	}
	s.place = newPlace(c.g.opts.Gate, c.from.Name)
	s.model = s.tariffOf(c.model)
	return s
}

func (s *session) tariffOf(model string) tariff {
	rates, priced := s.c.price(model)
	return tariff{model, rates, priced}
}

// counted is the name that the model goes by in sums and rules.
func (t tariff) counted() string {
	if t.priced && t.rates.Model != "" {
		return t.rates.Model
	}
	return t.name
}

// dearer says whether a model may cost more than another. One whose price is not
// known may cost anything.
func (t tariff) dearer(o tariff) bool {
	const some = 1000
	if !t.priced || !o.priced {
		return o.priced
	}
	return t.rates.Ceiling(some, some) > o.rates.Ceiling(some, some)
}

// tariff is what answers are charged by: as long as nobody confirms that the client's
// wish for another model was fulfilled, by the dearer of both.
func (s *session) tariff() tariff {
	if s.wanted != nil && s.wanted.dearer(s.model) {
		return *s.wanted
	}
	return s.model
}

// guarded has a panic end the session and not the host: the goroutines that hear
// messages are not those of net/http.
func (s *session) guarded(hear func([]byte) error) func([]byte) error {
	return func(message []byte) (err error) {
		defer func() {
			if p := recover(); p != nil {
				s.c.g.opts.Log.Error("a realtime session failed", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				err = errStopped{&failure{status: http.StatusInternalServerError, msg: "the AI gateway failed; its log says why"}}
			}
		}()
		return hear(message)
	}
}

// overhear looks at a message of the client before it is passed on: the guardrails,
// which model it names, and whether the answer that it asks for may be given. It
// cannot be changed in a WebSocket, so what would be blotted out ends the session.
func (s *session) overhear(message []byte) error {
	s.mu.Lock()
	subject := guardrail.Subject{Direction: guardrail.Request, Caller: s.c.from.Name, Provider: s.c.to.name, Model: s.model.name}
	s.mu.Unlock()
	report := s.c.rules.Examine(subject, message)
	s.mu.Lock()
	s.c.found(report)
	s.mu.Unlock()
	if report.Blocked || report.Body != nil {
		why := &failure{kind: "guardrail", msg: report.Reason()}
		if why.msg == "" {
			why.msg = "the message holds what must not pass"
		}
		return errStopped{why}
	}
	r, err := readRequest(message)
	if err != nil {
		return errStopped{fail(http.StatusBadRequest, err.Error())}
	}
	if err := s.note(r); err != nil {
		return errStopped{asFailure(err)}
	}
	if r.asks() {
		return s.ask(r)
	}
	return nil
}

// note takes down what a message of the client changes.
func (s *session) note(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := append(append(append(words(nil), r.Session.Model...), r.Response.Model...), r.Setup.Model...)
	if err := s.name(names); err != nil {
		return err
	}
	for _, t := range []*terms{&r.Session, &r.Response, &r.Setup} {
		s.slow(t)
	}
	for _, t := range []*terms{&r.Session, &r.Setup} {
		if n, said := t.most(); said {
			s.most = n
		}
	}
	text, speech := r.adds()
	s.text, s.speech = min(s.text+text, 1<<40), min(s.speech+speech, 1<<40)
	return nil
}

// slow keeps to the fewest bytes that a second of speech has had: how it is sent may
// change within the session.
func (s *session) slow(t *terms) {
	if n := t.second(); n > 0 {
		s.hears.second, s.says.second = min(s.hears.second, n), min(s.says.second, n)
	}
}

// name checks the models that a message names, and makes one of them the session's.
func (s *session) name(names words) error {
	if len(names) > 1 {
		return fail(http.StatusBadRequest, "the message names a model more than once")
	}
	for _, name := range names {
		name = bareModel(s.c.to.ep.Kind, name)
		if name == s.model.name {
			continue
		}
		if len(name) > maxModelName || !s.c.rules.AllowsModel(name) {
			return &failure{status: http.StatusBadRequest, kind: "guardrail", msg: "this agent may not use the model " + shown(name)}
		}
		if t := s.tariffOf(shown(name)); s.model.name == "" {
			s.model = t
		} else if s.wanted == nil || !s.wanted.dearer(t) {
			s.wanted = &t
		}
	}
	if s.limit && s.model.name == "" {
		return &failure{status: http.StatusBadRequest, kind: "guardrail", msg: "this agent may use some models only, and the session names none"}
	}
	return nil
}

// told takes down what the provider says that the session is like.
func (s *session) told(e *event, message []byte) {
	s.slow(&e.Session)
	if n, said := e.Session.most(); said {
		s.most, s.agreed = n, n
	}
	name := usageOf(s.c.to.ep.Kind, message).Model
	if name != "" {
		s.total.Model = name
	}
	if s.wanted != nil && name == s.wanted.name {
		s.model, s.wanted = *s.wanted, nil
	}
}

// account looks at a message of the model, which has been passed on: it may begin an
// answer, be a part of one, or complete it.
func (s *session) account(message []byte) error {
	e := readEvent(message)
	s.mu.Lock()
	switch e.Type.last() {
	case "session.created", "session.updated":
		s.told(e, message)
	case "error":
		s.most = s.agreed // what the client wished for may be what is refused
		s.unask(e.Error.About.last())
	}
	s.mu.Unlock()
	sign, ok := e.signOf(s.c.to.ep.Kind)
	if !ok {
		return nil
	}
	a, err := s.answerOf(sign)
	if a == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.text, a.speech = min(a.text+sign.text, 1<<40), min(a.speech+sign.speech, 1<<40)
	if sign.done {
		s.complete(a, usageOf(s.c.to.ep.Kind, message), sign.failed, bool(e.Response.Beside))
	}
	return err
}

// complete counts an answer that has ended.
func (s *session) complete(a *reply, used usage.Usage, failed, beside bool) {
	switch {
	case used.Known:
	case failed && a.text+a.speech == 0:
		s.drop(a)
		return
	default:
		used = s.estimate(a)
	}
	if !beside { // it read the conversation, and is now a part of it
		s.talk = parts{text: used.Prompt() - used.AudioInput + used.Output, speech: used.AudioInput + used.AudioOutput}
		s.text, s.speech = s.text-a.heardText, s.speech-a.heardSpeech
		for _, o := range s.answers { // what it read, they have not read alone
			o.heardText, o.heardSpeech = max(0, o.heardText-a.heardText), max(0, o.heardSpeech-a.heardSpeech)
		}
	}
	s.count(a, used)
}

// estimate is what an answer consumed that does not say so, or was left before it
// could: what was held for the prompt, and what of the answer has passed.
func (s *session) estimate(a *reply) usage.Usage {
	return usage.Usage{
		Input: a.prompt.text, AudioInput: a.prompt.speech,
		Output: textTokens(a.text), AudioOutput: s.says.of(a.speech), Estimated: true,
	}
}

// count settles an answer.
func (s *session) count(a *reply, used usage.Usage) {
	s.remove(a)
	if a.id != "" {
		s.last = a.id
	}
	s.total = sum(s.total, used)
	s.c.consumed = true
	cost, known := s.price(a.by, used)
	s.cost, s.unknown = s.cost.Add(cost), s.unknown || !known
	a.settle(cost, known, used.Total())
	s.leave(a)
}

// price is what an answer costs by a tariff, and whether that is known. A program's own
// price may be one of the session as a whole.
func (s *session) price(t tariff, used usage.Usage) (price.Money, bool) {
	if custom := s.c.spend.custom; custom != nil {
		all, missing := custom.Cost(s.total)
		s.missing |= missing
		return max(0, all-s.cost), true
	}
	switch {
	case !t.priced:
		return 0, false
	case t.rates.Source == "free":
		return 0, true
	}
	cost, missing := t.rates.Cost(used)
	s.missing |= missing
	return cost, true
}

// sum adds up what two answers consumed; the name is the newer one's, where it has one.
func sum(a, b usage.Usage) usage.Usage {
	for _, p := range [][2]*int64{
		{&a.Input, &b.Input}, {&a.CacheRead, &b.CacheRead}, {&a.CacheWrite5m, &b.CacheWrite5m}, {&a.CacheWrite1h, &b.CacheWrite1h},
		{&a.AudioInput, &b.AudioInput}, {&a.ImageInput, &b.ImageInput}, {&a.Output, &b.Output}, {&a.AudioOutput, &b.AudioOutput},
		{&a.Reasoning, &b.Reasoning}, {&a.WebSearches, &b.WebSearches},
	} {
		*p[0] = min(*p[0]+*p[1], 1<<50)
	}
	if b.Model != "" {
		a.Model = b.Model
	}
	a.Known, a.Estimated = a.Known || b.Known, a.Estimated || b.Estimated
	return a
}

// end counts what is under way as the session ends, and gives back what is held for
// answers that have not begun. It is called when no message is heard any more.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.answers) > 0 {
		if a := s.answers[0]; a.begun {
			s.count(a, s.estimate(a))
		} else {
			s.drop(a)
		}
	}
	t := s.tariff()
	s.c.model, s.c.spend.rates, s.c.spend.priced = t.name, t.rates, t.priced
}

// answerID tells the answers of one session apart in the ledger.
func (s *session) answerID() string {
	if id := s.c.answerID(); id != "" {
		return id + "." + strconv.Itoa(s.begun)
	}
	return ""
}

// answerID names the call in the ledger while it is under way; "" where none of them
// has a name.
func (c *call) answerID() string {
	if c.id.IsZero() {
		return ""
	}
	return c.id.String()
}
