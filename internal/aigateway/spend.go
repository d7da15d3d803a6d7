package aigateway

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
	"github.com/moltworker/moltworker/internal/remedy"
)

// usualOutput is how many tokens an answer is taken to have at most when the request
// does not say: the most that common models write unasked.
const usualOutput = 32_768

// maxAnswers bounds how many answers a call is taken to ask for; no API gives as many.
const maxAnswers = 1024

// spend is what one call costs: at most before it is made, and in the end.
type spend struct {
	rates  price.Rates
	priced bool // the price is known, be it nothing
	hold   *budget.Reservation
	turns  []*limit.Ticket // of the windows
	custom *price.Custom   // what a program says that its call costs
}

// admit asks whether the call may be made, and holds the most that it can cost until
// it is known what it did cost.
func (c *call) admit(size int) error {
	c.spend.rates, c.spend.priced = c.price(c.model)
	if custom, err := price.ParseCustom(c.wish.cost); c.wish.cost != "" {
		if err != nil {
			return &failure{status: http.StatusBadRequest, msg: err.Error()}
		}
		c.spend.custom = &custom
	}
	if !c.to.ep.Paid {
		return nil
	}
	most, tokens := c.most(size)
	if err := c.takeTurns(tokens); err != nil || c.g.opts.Budget == nil {
		return err
	}
	hold, err := c.g.opts.Budget.Reserve(budget.Call{
		ID: c.answerID(), Agent: c.from.Name, Provider: c.to.name, Model: c.counted(), Trigger: c.trigger,
		At: c.start, LastUser: c.load.lastUser(), Unpriced: !c.spend.priced && c.spend.custom == nil,
	}, most, tokens)
	if err != nil {
		return refusal(err)
	}
	c.spend.hold = hold
	return nil
}

// takeTurns counts the call in every window, or in none.
func (c *call) takeTurns(tokens int64) error {
	for _, w := range c.g.opts.Windows {
		turn, err := w.Take(limit.Key{Agent: c.from.Name}, tokens)
		if err != nil {
			c.endTurns(0)
			return tooMuch(err)
		}
		c.spend.turns = append(c.spend.turns, turn)
	}
	return nil
}

// endTurns gives the windows' turns back with what was moved; a call that consumed
// nothing was none.
func (c *call) endTurns(tokens int64) {
	for _, turn := range c.spend.turns {
		if c.consumed {
			turn.Done(tokens)
		} else {
			turn.Cancel()
		}
	}
	c.spend.turns = nil
}

// tooMuch puts a limit's word into an answer.
func tooMuch(err error) error {
	f := &failure{status: http.StatusTooManyRequests, kind: "limited", msg: err.Error()}
	var over *limit.Limited
	if errors.As(err, &over) {
		f.final = over.Never
		if over.RetryAfter > 0 {
			f.retryAfter = seconds(over.RetryAfter)
		}
	}
	return f
}

// price finds what a model of this call's provider costs now.
func (c *call) price(model string) (price.Rates, bool) {
	if c.to.demo {
		return price.Rates{Provider: provider.Demo, Model: model, Source: "free"}, true
	}
	if p := c.to.ep.Provider; p != nil && p.Local {
		return price.Rates{Provider: p.Name, Model: model, Source: "free"}, true
	}
	table := c.g.opts.Prices()
	if table == nil {
		return price.Rates{}, false
	}
	return table.Find(c.to.name, model, c.start)
}

// most is the most that the call can cost, and how many tokens it can move.
func (c *call) most(size int) (price.Money, int64) {
	prompt := c.load.promptTokens(int64(size))
	output := c.ask.maxOutput
	switch {
	case c.to.ep.Kind == usage.Embeddings:
		output = 0
	case output == 0:
		output = usualOutput
	}
	answers := min(max(c.ask.answers, 1), maxAnswers)
	if c.to.ep.Kind != usage.Images {
		output *= answers // each may be so long
	}
	if !c.spend.priced || c.spend.rates.Source == "free" {
		return 0, prompt + output
	}
	most := c.spend.rates.Ceiling(prompt, output)
	if each, ok := c.spend.rates.Prices.Of(price.Image); ok && c.to.ep.Kind == usage.Images {
		most = most.Add(each * price.Money(answers))
	}
	return most, prompt + output
}

// refusal puts the ledger's word into an answer.
func refusal(err error) error {
	f := &failure{status: http.StatusTooManyRequests, msg: err.Error(), kind: "budget", why: route.Budget, cause: err, final: true}
	var exceeded *budget.Exceeded
	var stopped *budget.Stopped
	var unpriced *budget.Unpriced
	switch {
	case errors.As(err, &exceeded):
		if exceeded.Busy() {
			f.retryAfter, f.final = "1", false
		} else if !exceeded.Resets.IsZero() {
			f.retryAfter = seconds(time.Until(exceeded.Resets))
		}
	case errors.As(err, &stopped):
		f.kind, f.why = "stopped", "" // whatever the model
	case errors.As(err, &unpriced):
		f.kind = "unpriced"
	default:
		f.status, f.kind = http.StatusServiceUnavailable, "ledger"
	}
	if more := remedy.Of(err); more != "" && !strings.Contains(f.msg, more) {
		f.msg += "; " + more
	}
	f.cause = nil // the message says it all
	return f
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(max(d.Seconds(), 1)))) }

// settle counts what the call consumed, once it has ended.
func (c *call) settle() {
	if c.talk != nil { // its answers are settled one by one
		c.rec.usage, c.rec.cost, c.rec.priced, c.rec.missing = c.talk.total, c.talk.cost, !c.talk.unknown, c.talk.missing
		return
	}
	used := c.used()
	cost, known := c.cost(used)
	c.rec.usage, c.rec.cost, c.rec.priced = used, cost, known
	if used.Known && !used.Estimated {
		c.load.learn(c.rec.in, used.Prompt())
	}
	c.endTurns(used.Total())
	hold := c.spend.hold
	switch {
	case hold == nil:
	case !c.consumed:
		hold.Release()
	case known:
		hold.Settle(cost, used.Total())
	default:
		hold.SettleUnknown(used.Total())
	}
}

// used is what the answer consumed: what its API says, or what can be worked out when
// it broke off or says nothing.
func (c *call) used() usage.Usage {
	if c.meter == nil || !c.consumed {
		return usage.Usage{}
	}
	if c.meter.Usage().Known && c.meter.Complete() {
		return c.meter.Usage()
	}
	return c.meter.Estimate(c.rec.in)
}

// cost is what that costs, and whether it is known.
func (c *call) cost(used usage.Usage) (price.Money, bool) {
	switch {
	case !c.consumed:
		return 0, true
	case c.spend.custom != nil:
		cost, missing := c.spend.custom.Cost(used)
		c.rec.missing = missing
		return cost, true
	case !c.spend.priced:
		return 0, false
	case c.spend.rates.Source == "free":
		return 0, true
	}
	cost, missing := c.spend.rates.Cost(used)
	c.rec.missing = missing
	return cost, true
}

// counted is the name that a call's model goes by in sums and rules.
func (c *call) counted() string {
	if c.spend.priced && c.spend.rates.Model != "" {
		return c.spend.rates.Model
	}
	return c.model
}

// What a byte of a request is in tokens is learnt from an agent's calls: about a
// quarter for English, more for other scripts, hardly anything for images.
const (
	firstRatio = 0.5
	spareRatio = 1.25 // what is held beyond what was learnt
	fixedSpare = 512  // tokens that a request has whatever its size
)

// measure is what was learnt of one agent's requests.
type measure struct{ ratio atomic.Uint64 } // bits of a float64; 0: nothing yet

// promptTokens is how many tokens a request of so many bytes has at most, as far as
// can be told. No token is less than a byte.
func (m *measure) promptTokens(size int64) int64 {
	ratio := math.Float64frombits(m.ratio.Load())
	if ratio == 0 {
		ratio = firstRatio
	}
	return min(size, int64(float64(size)*ratio*spareRatio)+fixedSpare)
}

// learn notes that a request of so many bytes had so many tokens. It rises at once
// and falls slowly.
func (m *measure) learn(size, tokens int64) {
	if size < 1024 || tokens <= 0 {
		return
	}
	seen := min(float64(tokens)/float64(size), 1)
	for {
		old := m.ratio.Load()
		next := seen
		if was := math.Float64frombits(old); was > seen {
			next = was*0.9 + seen*0.1
		}
		if m.ratio.CompareAndSwap(old, math.Float64bits(next)) {
			return
		}
	}
}
