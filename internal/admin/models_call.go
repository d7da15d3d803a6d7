package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/audit"
)

// ModelCall is what is kept of one call of a model.
type ModelCall struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"` // when it began
	Agent    string    `json:"agent"`
	Trigger  string    `json:"trigger"` // why it called: "user", "cron" ...; "" unknown
	Provider string    `json:"provider"`
	Model    string    `json:"model"`    // that it is counted as
	Asked    string    `json:"asked"`    // by the client
	Answered string    `json:"answered"` // as the provider names it
	Endpoint string    `json:"endpoint"`
	Status   int       `json:"status"` // of HTTP; 0: there was no answer
	Outcome  string    `json:"outcome"`
	Error    string    `json:"error,omitempty"` // kind of what went wrong
	Stream   bool      `json:"stream"`
	Key      string    `json:"key,omitempty"` // name of the provider's key

	Cost        *price.Money `json:"cost"` // dollars; nil where it is not known
	Saved       price.Money  `json:"saved"`
	Tokens      ModelTokens  `json:"tokens"`
	TokensKnown bool         `json:"tokens_known"`
	Estimated   bool         `json:"estimated"` // the tokens are worked out from the bytes
	Images      int64        `json:"images"`
	WebSearches int64        `json:"web_searches"`
	Tier        string       `json:"tier,omitempty"` // of service

	Took      float64 `json:"took_ms"`
	FirstByte float64 `json:"first_byte_ms"`
	Attempts  int     `json:"attempts"`
	Step      int     `json:"step"` // of a route's fallbacks, from 0, that answered
	Cache     string  `json:"cache,omitempty"`

	Metadata map[string]string `json:"metadata"`
	Event    string            `json:"event,omitempty"` // the client's own ID
	Guards   []string          `json:"guards"`          // what guardrails found

	RequestBytes  int64          `json:"request_bytes"`
	ResponseBytes int64          `json:"response_bytes"`
	Feedback      *ModelFeedback `json:"feedback,omitempty"`
}

// ModelFeedback is what somebody thought of an answer.
type ModelFeedback struct {
	Vote    int    `json:"vote"` // -1 bad, 0 none, 1 good
	Score   *int   `json:"score,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// ModelCalls is a page of calls, newest first.
type ModelCalls struct {
	Calls []ModelCall `json:"calls"`
	// Next is the before of the page that follows, "" at the end. A page may have fewer
	// calls than were asked for, or none, and yet a next one.
	Next string `json:"next,omitempty"`
}

func callOf(c calllog.Call) ModelCall {
	u := c.Usage
	out := ModelCall{
		ID: c.ID.String(), Time: c.ID.Time(), Agent: c.Agent, Trigger: c.Trigger, Provider: c.Provider, Model: c.Model, Asked: c.Asked, Answered: u.Model,
		Endpoint: c.Endpoint, Status: c.Status, Outcome: c.Outcome().String(), Error: c.Error, Stream: c.Stream, Key: c.Key,
		Saved: c.Saved, TokensKnown: u.Known, Estimated: u.Estimated, Images: u.Images, WebSearches: u.WebSearches, Tier: u.Tier,
		Tokens: ModelTokens{Input: u.Input, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite5m + u.CacheWrite1h, AudioInput: u.AudioInput,
			Output: u.Output, AudioOutput: u.AudioOutput, Reasoning: u.Reasoning, Total: u.Total()},
		Took: millis(c.Took), FirstByte: millis(c.FirstByte), Attempts: c.Attempts, Step: c.Step, Cache: c.Cache,
		Metadata: c.Metadata, Event: c.Event, Guards: list(c.Guards), RequestBytes: c.RequestBytes, ResponseBytes: c.ResponseBytes,
	}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	if c.CostKnown {
		out.Cost = &c.Cost
	}
	if f := c.Feedback; f != nil {
		out.Feedback = &ModelFeedback{f.Vote, f.Score, f.Comment}
	}
	return out
}

// ModelCalls lists the calls that are meant, newest first, those before one (the Next of
// the page before; "": from the newest). limit is at most 500, and 50 where it is 0.
func (p *Plane) ModelCalls(ctx context.Context, f calllog.Filter, before string, limit int) (ModelCalls, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return ModelCalls{}, err
	}
	var at calllog.ID
	if before != "" {
		if at, err = calllog.ParseID(before); err != nil {
			return ModelCalls{}, invalid("before is no call's ID", "take the next of the page before")
		}
	}
	if limit < 0 || limit > 500 {
		return ModelCalls{}, invalid("want a limit from 1 to 500", "")
	}
	page, err := m.Calls.List(ctx, f, at, limit)
	out := ModelCalls{Calls: make([]ModelCall, 0, len(page.Calls))}
	for _, c := range page.Calls {
		out.Calls = append(out.Calls, callOf(c))
	}
	if !page.Next.IsZero() {
		out.Next = page.Next.String()
	}
	return out, err
}

// ModelCall returns one call.
func (p *Plane) ModelCall(ctx context.Context, id string) (ModelCall, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return ModelCall{}, err
	}
	c, err := theCall(ctx, m, id)
	return callOf(c), err
}

func theCall(ctx context.Context, m *Models, id string) (calllog.Call, error) {
	at, err := calllog.ParseID(id)
	if err != nil {
		return calllog.Call{}, noCall("that is no call's ID")
	}
	c, err := m.Calls.Get(ctx, at)
	return c, asModelError(err, "there is no such call")
}

func noCall(message string) error {
	return &Error{Status: http.StatusNotFound, Kind: "not_found", Message: message, Remedy: "`moltworker ai calls` lists the calls"}
}

// asModelError says what is not found in words of ours.
func asModelError(err error, missing string) error {
	if errors.Is(err, calllog.ErrNotFound) {
		return noCall(missing)
	}
	return err
}

// RateModelCall keeps what somebody thought of a call's answer, in place of what was
// kept before.
func (p *Plane) RateModelCall(ctx context.Context, id string, f ModelFeedback) error {
	m, err := p.models(ctx, access.WriteModels)
	if err != nil {
		return err
	}
	call, err := theCall(ctx, m, id)
	if err != nil {
		return err
	}
	if err := m.Calls.Feedback(ctx, call.ID, calllog.Feedback{Vote: f.Vote, Score: f.Score, Comment: f.Comment}); err != nil {
		return asModelError(err, "there is no such call")
	}
	old := 0
	if call.Feedback != nil {
		old = call.Feedback.Vote
	}
	return p.record(ctx, audit.Event{Action: "models.rate", Agent: call.Agent, Target: id, Old: fmt.Sprint(old), New: fmt.Sprint(f.Vote)})
}
