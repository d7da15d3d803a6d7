package aigateway

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// reply is one answer of a session, from when it is asked for until it is counted. What it
// holds is given back by settle or release.
type reply struct {
	id     string // the provider's name for it; "" until it begins, or where it has none
	event  string // the client's name for its request
	number string // by which the ledger knows it
	begun  bool
	most   int64 // tokens that it may have

	by   tariff  // what it is charged by, as it was when the answer was asked for
	wish *tariff // the model that was wished for then, and not confirmed

	prompt                 parts // what it reads, in tokens, as far as can be told
	heardText, heardSpeech int64 // what the client sent that it is the first to read
	text, speech           int64 // bytes of it that have passed; speech in base64

	turns  []*limit.Ticket // of the windows
	hold   *budget.Reservation
	inGate bool
}

func (a *reply) settle(cost price.Money, known bool, tokens int64) {
	for _, turn := range a.turns {
		turn.Done(tokens)
	}
	switch {
	case a.hold == nil:
	case known:
		a.hold.Settle(cost, tokens)
	default:
		a.hold.SettleUnknown(tokens)
	}
	a.turns, a.hold = nil, nil
}

func (a *reply) release() {
	for _, turn := range a.turns {
		turn.Cancel()
	}
	if a.hold != nil {
		a.hold.Release()
	}
	a.turns, a.hold = nil, nil
}

// place is a session's place in the gate, which its answers that are under way share:
// one that waited for another of the same session would hold up what it waits for.
type place struct {
	gate  *limit.Gate // nil: there is none
	key   limit.Key
	turn  chan struct{} // full while somebody enters or leaves
	users int           // held by turn
	leave func()        // held by turn
}

func newPlace(gate *limit.Gate, agent string) place {
	return place{gate: gate, key: limit.Key{Agent: agent}, turn: make(chan struct{}, 1)}
}

// enter waits until one more answer may be under way, or ctx ends.
func (p *place) enter(ctx context.Context) error {
	if p.gate == nil {
		return nil
	}
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.turn }()
	if p.users == 0 {
		leave, err := p.gate.Enter(ctx, p.key)
		if err != nil {
			return err
		}
		p.leave = leave
	}
	p.users++
	return nil
}

// exit gives the place of an answer back. It does not wait: nobody waits in enter for
// the gate while there are users.
func (p *place) exit() {
	if p.gate == nil {
		return
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.users--; p.users == 0 {
		p.leave()
	}
}

// mayBegin says whether an answer could be paid now. Nothing stays held.
func (s *session) mayBegin() error {
	s.mu.Lock()
	a := s.newReply()
	s.begun = 0
	s.mu.Unlock()
	defer a.release()
	return s.reserve(a)
}

// newReply is the next answer. Called with mu held.
func (s *session) newReply() *reply {
	a := &reply{number: s.answerID(), most: s.most, by: s.tariff(), wish: s.wanted, heardText: s.text, heardSpeech: s.speech}
	s.begun++
	a.prompt = parts{s.talk.text + textTokens(s.text), s.talk.speech + s.hears.of(s.speech)}
	return a
}

// ask holds what the answer needs that the client asks for. It may wait for the gate.
func (s *session) ask(r *request) error {
	s.mu.Lock()
	if len(s.answers) >= maxUnderWay {
		s.mu.Unlock()
		return errStopped{&failure{status: http.StatusTooManyRequests, kind: "busy", msg: "too many answers of this session are under way"}}
	}
	a := s.newReply()
	a.event = r.ID.last()
	if n, said := r.Response.most(); said {
		a.most = n
	}
	s.mu.Unlock()
	if err := s.admit(a); err != nil {
		return errStopped{asFailure(err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, a)
	return nil
}

// unask gives back what is held for a request that the provider refuses. Which it
// means, where neither has a name, is all the same. Called with mu held.
func (s *session) unask(event string) {
	for _, a := range s.answers {
		if !a.begun && a.event == event {
			s.drop(a)
			return
		}
	}
}

// answerOf finds the answer that an event is about. One that the provider began by
// itself is admitted now; where it is refused, the answer that has begun is still to be
// counted, and the error to end the session. Only this goroutine begins answers.
func (s *session) answerOf(sign sign) (*reply, error) {
	s.mu.Lock()
	if sign.fresh {
		s.replace(sign.id)
	}
	for i := len(s.answers) - 1; i >= 0; i-- {
		if a := s.answers[i]; a.begun && (a.id == sign.id || sign.id == "") {
			s.mu.Unlock()
			return a, nil
		}
	}
	if sign.id != "" && sign.id == s.last {
		s.mu.Unlock()
		return nil, nil // it is counted already
	}
	for _, a := range s.answers {
		if !a.begun {
			s.begin(a, sign.id)
			s.mu.Unlock()
			return a, nil
		}
	}
	if len(s.answers) >= maxUnderWay {
		s.count(s.answers[0], s.estimate(s.answers[0]))
	}
	a := s.newReply()
	s.begin(a, sign.id)
	s.mu.Unlock()
	err := s.admit(a)
	if err != nil {
		s.holdNothing(a)
		err = errStopped{asFailure(err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, a)
	return a, err
}

// begin takes down that an answer has begun. If the wish that was open when it was asked
// for has been fulfilled by now, it is the wish's. Called with mu held.
func (s *session) begin(a *reply, id string) {
	a.begun, a.id = true, id
	if a.wish != nil && a.wish.name == s.model.name {
		a.by = s.model
	}
}

// replace counts the answer whose end was never said, as another begins that cannot be
// told from it. Called with mu held.
func (s *session) replace(id string) {
	for _, a := range s.answers {
		if a.begun && id == "" && a.id == "" {
			s.complete(a, usage.Usage{}, false, false)
			return
		}
	}
}

// admit takes for an answer its place in the gate, its turn in the windows and what it
// can cost, or nothing of it.
func (s *session) admit(a *reply) error {
	if !s.c.to.ep.Paid {
		return nil
	}
	if err := s.place.enter(s.ctx); err != nil {
		if s.ctx.Err() != nil {
			return errClientGone
		}
		return tooMuch(err)
	}
	a.inGate = true
	held := false
	defer func() {
		if !held {
			a.release()
			s.leave(a)
		}
	}()
	if err := s.reserve(a); err != nil {
		return err
	}
	held = true
	return nil
}

// reserve takes the windows' turns and holds the most that the answer can cost.
func (s *session) reserve(a *reply) error {
	if !s.c.to.ep.Paid {
		return nil
	}
	prompt, output := a.prompt.text+a.prompt.speech, a.most
	if output == 0 {
		output = usualOutput
	}
	for _, w := range s.c.g.opts.Windows {
		turn, err := w.Take(limit.Key{Agent: s.c.from.Name}, prompt+output)
		if err != nil {
			return tooMuch(err)
		}
		a.turns = append(a.turns, turn)
	}
	t := a.by
	most := price.Money(0)
	if t.priced && t.rates.Source != "free" {
		most = t.rates.Ceiling(prompt, output) // the dearer of text and speech
	}
	return s.hold(a, most, prompt+output)
}

func (s *session) hold(a *reply, most price.Money, tokens int64) error {
	c, t := s.c, a.by
	if c.g.opts.Budget == nil {
		return nil
	}
	hold, err := c.g.opts.Budget.Reserve(budget.Call{
		ID: a.number, Agent: c.from.Name, Provider: c.to.name, Model: t.counted(), Trigger: c.trigger,
		At: c.g.opts.Now(), LastUser: c.load.lastUser(), Unpriced: !t.priced && c.spend.custom == nil,
	}, most, tokens)
	if err != nil {
		return refusal(err)
	}
	a.hold = hold
	return nil
}

// holdNothing has the ledger know of an answer that began and was refused: what it
// costs is counted where the ledger can.
func (s *session) holdNothing(a *reply) {
	if s.c.to.ep.Paid {
		_ = s.hold(a, 0, 0) // a refusal has been told already
	}
}

// leave gives the answer's place in the gate back.
func (s *session) leave(a *reply) {
	if a.inGate {
		a.inGate = false
		s.place.exit()
	}
}

// drop lets go of an answer that did not come to be. Called with mu held.
func (s *session) drop(a *reply) {
	s.remove(a)
	a.release()
	s.leave(a)
}

func (s *session) remove(a *reply) {
	if i := slices.Index(s.answers, a); i >= 0 {
		s.answers = slices.Delete(s.answers, i, i+1)
	}
}

// bareModel is a model's name without the path that Google writes before it.
func bareModel(kind usage.Kind, name string) string {
	if kind == usage.Gemini {
		return name[strings.LastIndexByte(name, '/')+1:]
	}
	return name
}
