package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/audit"
)

// Models are the records of model calls that the control plane shows and steers.
type Models struct {
	Calls  *calllog.Log
	Budget *budget.Ledger
	Prices func() *price.Table // of now: overrides may be read anew
	Routes func() *route.Table // that calls take

	rules sync.Mutex // held while rules are read, changed and written
	names tally      // what the metrics tell apart
}

// Whoever may use agents' secrets may see what was said to a model; costs and counts
// are less.
var readsPayloads = []access.Scope{access.ReadModels, access.ExecAgents}

// errNoModels refuses what needs a record of model calls.
var errNoModels = &Error{
	Status: http.StatusBadRequest, Kind: "not_configured",
	Message: "Model calls are not recorded here.",
	Remedy:  "start moltworker with `moltworker up`; its log says why there is no record",
}

// models are those of a caller who has the scopes.
func (p *Plane) models(ctx context.Context, scopes ...access.Scope) (*Models, error) {
	if err := p.mayAll(ctx, scopes...); err != nil {
		return nil, err
	}
	if p.opts.Models == nil {
		return nil, errNoModels
	}
	return p.opts.Models, nil
}

// ModelSums are what some calls have in common, added up.
type ModelSums struct {
	Calls     int64       `json:"calls"`
	Errors    int64       `json:"errors"`    // that were refused, failed, broke off or were not answered
	Unpriced  int64       `json:"unpriced"`  // whose cost is not known, and missing in Cost
	Estimated int64       `json:"estimated"` // whose tokens are estimates
	Hits      int64       `json:"cache_hits"`
	Misses    int64       `json:"cache_misses"`
	Cost      price.Money `json:"cost"`  // dollars
	Saved     price.Money `json:"saved"` // by the cache
	Tokens    ModelTokens `json:"tokens"`

	// Of half of the calls, and of all but a twentieth, in milliseconds: the whole call,
	// and the wait until its answer began.
	TookP50  float64 `json:"took_p50_ms"`
	TookP95  float64 `json:"took_p95_ms"`
	FirstP50 float64 `json:"first_byte_p50_ms"`
	FirstP95 float64 `json:"first_byte_p95_ms"`
}

// ModelTokens are disjoint, but for Reasoning, which is part of Output, and Total.
type ModelTokens struct {
	Input       int64 `json:"input"`
	CacheRead   int64 `json:"cache_read"`
	CacheWrite  int64 `json:"cache_write"`
	AudioInput  int64 `json:"audio_input"`
	Output      int64 `json:"output"`
	AudioOutput int64 `json:"audio_output"`
	Reasoning   int64 `json:"reasoning"`
	Total       int64 `json:"total"`
}

// ModelPoint is the sums of an hour or a day, and of one group.
type ModelPoint struct {
	Start time.Time `json:"start"`
	Group string    `json:"group"`
	ModelSums
}

// ModelRank is the sums of a group.
type ModelRank struct {
	Group string `json:"group"`
	ModelSums
}

// ModelForecast is what a month will have cost.
type ModelForecast struct {
	Spent    price.Money `json:"spent"`
	Expected price.Money `json:"expected"` // the same as Spent where not Enough
	Days     int         `json:"days"`     // that it is worked out from
	Enough   bool        `json:"enough"`   // there were seven of them
	Unpriced int64       `json:"unpriced"` // calls whose cost is missing in it
}

// ModelLog is how the record of calls does.
type ModelLog struct {
	Calls   int64  `json:"calls"`   // that are kept
	Dropped int64  `json:"dropped"` // that were lost since the start
	Failing string `json:"failing,omitempty"`
}

// ModelUsage is what model calls came to, in days and months of UTC.
type ModelUsage struct {
	Today    ModelSums     `json:"today"`
	Month    ModelSums     `json:"month"`
	Forecast ModelForecast `json:"forecast"`
	Log      ModelLog      `json:"log"`
}

// Day is the day of UTC that a time is in, and the first of the month that it is in.
func days(now time.Time) (today, month time.Time) {
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
}

// ModelUsage says what the calls of today and of this month came to, of those that q
// means; its times do not count.
func (p *Plane) ModelUsage(ctx context.Context, q calllog.Query) (u ModelUsage, err error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return u, err
	}
	now := p.opts.Now()
	today, month := days(now)
	q.Unit, q.To = calllog.Day, time.Time{}
	q.From = today
	sums, err := m.Calls.Totals(ctx, q)
	if err != nil {
		return u, err
	}
	u.Today, q.From = sumsOf(sums), month
	if sums, err = m.Calls.Totals(ctx, q); err != nil {
		return u, err
	}
	u.Month = sumsOf(sums)
	f, err := m.Calls.Forecast(ctx, now, q)
	if err != nil {
		return u, err
	}
	u.Forecast = ModelForecast{f.Spent, f.Expected, f.Days, f.Enough, f.Unpriced}
	stats := m.Calls.Stats()
	u.Log = ModelLog{stats.Calls, stats.Dropped, stats.Failing}
	return u, nil
}

// ModelTotals adds up the calls that are meant.
func (p *Plane) ModelTotals(ctx context.Context, q calllog.Query) (ModelSums, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return ModelSums{}, err
	}
	sums, err := m.Calls.Totals(ctx, q)
	return sumsOf(sums), err
}

// ModelSeries adds up the calls that are meant by the hour or day, and by what by says.
func (p *Plane) ModelSeries(ctx context.Context, q calllog.Query, by calllog.Group) ([]ModelPoint, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return nil, err
	}
	points, err := m.Calls.Series(ctx, q, by)
	out := make([]ModelPoint, 0, len(points))
	for _, pt := range points {
		out = append(out, ModelPoint{pt.Start, pt.Group, sumsOf(pt.Sums)})
	}
	return out, err
}

// MaxTop bounds how many groups an answer has.
const MaxTop = 500

// ModelTop lists the most expensive groups of the calls that are meant: 20 where n is 0.
func (p *Plane) ModelTop(ctx context.Context, q calllog.Query, by calllog.Group, n int) ([]ModelRank, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > MaxTop {
		return nil, invalid("want a number of groups from 1 to 500", "")
	}
	if n == 0 {
		n = 20
	}
	ranked, err := m.Calls.Top(ctx, q, by, n)
	out := make([]ModelRank, 0, len(ranked))
	for _, r := range ranked {
		out = append(out, ModelRank{r.Group, sumsOf(r.Sums)})
	}
	return out, err
}

func sumsOf(s calllog.Sums) ModelSums {
	return ModelSums{
		Calls: s.Calls, Errors: s.Errors, Unpriced: s.Unpriced, Estimated: s.Estimated, Hits: s.Hits, Misses: s.Misses, Cost: s.Cost, Saved: s.Saved,
		Tokens: ModelTokens{Input: s.Input, CacheRead: s.CacheRead, CacheWrite: s.CacheWrite5m + s.CacheWrite1h, AudioInput: s.AudioInput,
			Output: s.Output, AudioOutput: s.AudioOutput, Reasoning: s.Reasoning, Total: s.Tokens()},
		TookP50: millis(s.Took.Quantile(.5)), TookP95: millis(s.Took.Quantile(.95)),
		FirstP50: millis(s.FirstByte.Quantile(.5)), FirstP95: millis(s.FirstByte.Quantile(.95)),
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ModelPrices are what models cost, as far as it is known.
type ModelPrices struct {
	Date    string         `json:"date"` // the day that the newest are of
	Sources []price.Source `json:"sources"`
	Models  []ModelPrice   `json:"models"`
	Total   int            `json:"total"` // how many fit the search
}

// ModelPrice is what one model costs: dollars for a million tokens, or for one image,
// search, call or hour, by the part's name.
type ModelPrice struct {
	Provider string                 `json:"provider"`
	Model    string                 `json:"model"`
	Source   string                 `json:"source"`
	From     string                 `json:"from,omitempty"` // the first day of these prices
	Note     string                 `json:"note,omitempty"` // what they leave out
	Prices   map[string]price.Money `json:"prices"`
	Tiers    []ModelPriceTier       `json:"tiers"`
	Derived  string                 `json:"derived,omitempty"` // parts whose price is worked out, not published
}

// ModelPriceTier counts for calls that read more than Above tokens.
type ModelPriceTier struct {
	Above  int64                  `json:"above"`
	Prices map[string]price.Money `json:"prices"`
}

func priceOf(r price.Rates) ModelPrice {
	out := ModelPrice{Provider: r.Provider, Model: r.Model, Source: r.Source, From: r.From, Note: r.Note, Prices: partsOf(r.Prices), Tiers: []ModelPriceTier{}, Derived: r.Derived.String()}
	for _, t := range r.Tiers {
		out.Tiers = append(out.Tiers, ModelPriceTier{t.Above, partsOf(t.Prices)})
	}
	return out
}

// partsOf are prices as a file of overrides has them.
func partsOf(p price.Prices) map[string]price.Money {
	parts := map[string]price.Money{}
	if data, err := p.MarshalJSON(); err == nil {
		_ = json.Unmarshal(data, &parts) // which has nothing but amounts
	}
	return parts
}

// maxPrices bounds the models of one answer.
const maxPrices = 2000

// ModelPrices lists the models whose provider or name has all words of search in it; at
// most limit, 100 where it is 0.
func (p *Plane) ModelPrices(ctx context.Context, search string, limit int) (ModelPrices, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return ModelPrices{}, err
	}
	if len(search) > maxWords || limit < 0 || limit > maxPrices {
		return ModelPrices{}, invalid("want a shorter search, and a limit from 1 to 2000", "")
	}
	if limit == 0 {
		limit = 100
	}
	table := m.Prices()
	out := ModelPrices{Date: table.Date(), Sources: list(table.Sources()), Models: []ModelPrice{}}
	words := strings.Fields(strings.ToLower(search))
	for _, r := range table.Models(p.opts.Now()) {
		name := strings.ToLower(r.Provider + "/" + r.Model)
		fits := true
		for _, w := range words {
			fits = fits && strings.Contains(name, w)
		}
		if !fits {
			continue
		}
		if out.Total++; len(out.Models) < limit {
			out.Models = append(out.Models, priceOf(r))
		}
	}
	return out, nil
}

// WatchModels returns a channel that receives when calls were recorded since, and once
// now. It is closed when ctx ends.
func (p *Plane) WatchModels(ctx context.Context) (<-chan struct{}, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return nil, err
	}
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for {
			changed := m.Calls.Changed()
			select {
			case out <- struct{}{}:
			default: // told already
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// ExportModelCalls writes the calls that are meant, newest first. What has been written
// when it fails is a part.
func (p *Plane) ExportModelCalls(ctx context.Context, f calllog.Filter, format calllog.Format, w io.Writer) error {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return err
	}
	return m.Calls.Export(ctx, w, f, format)
}

// ModelPayload is what was said in a call.
type ModelPayload struct {
	Request     string `json:"request"`
	Response    string `json:"response"`
	RequestCut  bool   `json:"request_cut"` // only its beginning is kept
	ResponseCut bool   `json:"response_cut"`
}

// ModelPayload returns what was said in a call. That it was read is recorded.
func (p *Plane) ModelPayload(ctx context.Context, id string) (ModelPayload, error) {
	m, err := p.models(ctx, readsPayloads...)
	if err != nil {
		return ModelPayload{}, err
	}
	call, err := theCall(ctx, m, id)
	if err != nil {
		return ModelPayload{}, err
	}
	said, err := m.Calls.Payload(ctx, call.ID)
	if err != nil {
		return ModelPayload{}, asModelError(err, "nothing is kept of what was said in that call")
	}
	if err := p.record(ctx, audit.Event{Action: "models.payload", Agent: call.Agent, Target: id}); err != nil {
		return ModelPayload{}, err
	}
	return ModelPayload{indented(said.Request), indented(said.Response), said.RequestCut, said.ResponseCut}, nil
}

// indented is JSON as people read it, and anything else as it is.
func indented(body []byte) string {
	var v json.RawMessage
	if json.Unmarshal(body, &v) == nil {
		if nice, err := json.MarshalIndent(v, "", "  "); err == nil {
			return string(nice)
		}
	}
	return strings.ToValidUTF8(string(body), "\ufffd")
}
