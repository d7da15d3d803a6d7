package calllog

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Format of an export.
type Format string

// The formats: comma-separated values with a header, one JSON array, and one JSON
// object a line. Money is US dollars with all its decimals, as text in JSON; what is
// not known is an empty cell or null.
const (
	CSV    Format = "csv"
	JSON   Format = "json"
	NDJSON Format = "ndjson"
)

// Export writes the calls that are meant, newest first, with bounded memory whatever
// their number. An error after something was written leaves a part of an export.
func (l *Log) Export(ctx context.Context, w io.Writer, f Filter, format Format) error {
	out := bufio.NewWriter(w)
	var e exporter
	switch format {
	case CSV:
		e = &csvExporter{w: csv.NewWriter(out)}
	case JSON:
		e = &jsonExporter{w: out, open: "[\n", between: ",\n", close: "\n]\n"}
	case NDJSON:
		e = &jsonExporter{w: out, between: "\n", close: "\n"}
	default:
		return fmt.Errorf("%w: there is no format %.40q", ErrFilter, string(format))
	}
	c, err := l.choose(ctx, f)
	if err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return fmt.Errorf("export calls: %w", err)
	}
	for {
		p, err := l.find(ctx, &c, maxLimit)
		for i := 0; i < len(p.Calls) && err == nil; i++ {
			err = e.call(&p.Calls[i])
		}
		if err != nil {
			return fmt.Errorf("export calls: %w", err)
		}
		if p.Next.IsZero() {
			break
		}
		c.high = p.Next.key()
	}
	if err := e.end(); err != nil {
		return fmt.Errorf("export calls: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export calls: %w", err)
	}
	return nil
}

type exporter interface {
	begin() error
	call(c *Call) error
	end() error
}

// exported is a call as it leaves: the names of its columns are promised.
type exported struct {
	ID            ID                `json:"id"`
	Time          string            `json:"time"` // RFC 3339, milliseconds, UTC
	Agent         string            `json:"agent"`
	Trigger       string            `json:"trigger"`
	Provider      string            `json:"provider"`
	Model         string            `json:"model"`
	Asked         string            `json:"model_asked"`
	Answered      string            `json:"model_answered"`
	Endpoint      string            `json:"endpoint"`
	Status        int               `json:"status"`
	Outcome       string            `json:"outcome"`
	Error         string            `json:"error"`
	Stream        bool              `json:"stream"`
	Input         int64             `json:"input_tokens"`
	CacheRead     int64             `json:"cache_read_tokens"`
	CacheWrite5m  int64             `json:"cache_write_5m_tokens"`
	CacheWrite1h  int64             `json:"cache_write_1h_tokens"`
	AudioInput    int64             `json:"audio_input_tokens"`
	Output        int64             `json:"output_tokens"`
	AudioOutput   int64             `json:"audio_output_tokens"`
	Reasoning     int64             `json:"reasoning_tokens"`
	Images        int64             `json:"images"`
	WebSearches   int64             `json:"web_searches"`
	Seconds       float64           `json:"seconds"`
	Tier          string            `json:"tier"`
	UsageKnown    bool              `json:"usage_known"`
	Estimated     bool              `json:"usage_estimated"`
	Cost          *string           `json:"cost_usd"`
	Saved         string            `json:"saved_usd"`
	Took          float64           `json:"duration_ms"`
	FirstByte     *float64          `json:"first_byte_ms"`
	Attempts      int               `json:"attempts"`
	Step          int               `json:"step"`
	Cache         string            `json:"cache"`
	Key           string            `json:"key_name"`
	Event         string            `json:"event_id"`
	Metadata      map[string]string `json:"metadata"`
	Guards        []string          `json:"guardrails"`
	RequestBytes  int64             `json:"request_bytes"`
	ResponseBytes int64             `json:"response_bytes"`
	Vote          *int              `json:"feedback"`
	Score         *int              `json:"score"`
	Comment       string            `json:"comment"`
}

func export(c *Call) exported {
	u := &c.Usage
	e := exported{c.ID, c.ID.Time().Format("2006-01-02T15:04:05.000Z"), c.Agent, c.Trigger, c.Provider, c.Model, c.Asked, u.Model,
		c.Endpoint, c.Status, c.Outcome().String(), c.Error, c.Stream, u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.AudioInput,
		u.Output, u.AudioOutput, u.Reasoning, u.Images, u.WebSearches, u.Seconds, u.Tier, u.Known, u.Estimated, nil, dollars(c.Saved),
		milliseconds(c.Took), nil, c.Attempts, c.Step, c.Cache, c.Key, c.Event, c.Metadata, c.Guards, c.RequestBytes, c.ResponseBytes,
		nil, nil, ""}
	if c.CostKnown {
		cost := dollars(c.Cost)
		e.Cost = &cost
	}
	if c.FirstByte > 0 {
		first := milliseconds(c.FirstByte)
		e.FirstByte = &first
	}
	if f := c.Feedback; f != nil {
		e.Vote, e.Score, e.Comment = &f.Vote, f.Score, f.Comment
	}
	return e
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// dollars writes an amount, which is not negative, with the decimals that it has.
func dollars(m price.Money) string {
	s := fmt.Sprintf("%d.%012d", m/price.Dollar, m%price.Dollar)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

type jsonExporter struct {
	w                    *bufio.Writer
	open, between, close string
	any                  bool
}

func (j *jsonExporter) begin() error {
	_, err := j.w.WriteString(j.open)
	return err
}

func (j *jsonExporter) call(c *Call) error {
	if j.any {
		if _, err := j.w.WriteString(j.between); err != nil {
			return err
		}
	}
	j.any = true
	b, err := json.Marshal(export(c))
	if err != nil {
		return err
	}
	_, err = j.w.Write(b)
	return err
}

func (j *jsonExporter) end() error {
	if !j.any && j.open == "" {
		return nil // no lines at all
	}
	_, err := j.w.WriteString(j.close)
	return err
}

type csvExporter struct{ w *csv.Writer }

// csvHeader names the cells of cells, as in exported.
var csvHeader = []string{"id", "time", "agent", "trigger", "provider", "model", "model_asked", "model_answered", "endpoint",
	"status", "outcome", "error", "stream", "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
	"audio_input_tokens", "output_tokens", "audio_output_tokens", "reasoning_tokens", "images", "web_searches", "seconds", "tier",
	"usage_known", "usage_estimated", "cost_usd", "saved_usd", "duration_ms", "first_byte_ms", "attempts", "step", "cache", "key_name",
	"event_id", "metadata", "guardrails", "request_bytes", "response_bytes", "feedback", "score", "comment"}

func (x *csvExporter) begin() error { return x.w.Write(csvHeader) }

func (x *csvExporter) call(c *Call) error {
	e := export(c)
	whole := func(n int64) string { return strconv.FormatInt(n, 10) }
	part := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	metadata, _ := asJSON(e.Metadata).(string)
	guards, _ := asJSON(e.Guards).(string)
	var cost, first, vote, score string
	if e.Cost != nil {
		cost = *e.Cost
	}
	if e.FirstByte != nil {
		first = part(*e.FirstByte)
	}
	if e.Vote != nil {
		vote = strconv.Itoa(*e.Vote)
	}
	if e.Score != nil {
		score = strconv.Itoa(*e.Score)
	}
	return x.w.Write([]string{e.ID.String(), e.Time, inert(e.Agent), inert(e.Trigger), inert(e.Provider), inert(e.Model), inert(e.Asked),
		inert(e.Answered), inert(e.Endpoint), strconv.Itoa(e.Status), e.Outcome, inert(e.Error), strconv.FormatBool(e.Stream),
		whole(e.Input), whole(e.CacheRead), whole(e.CacheWrite5m), whole(e.CacheWrite1h), whole(e.AudioInput), whole(e.Output),
		whole(e.AudioOutput), whole(e.Reasoning), whole(e.Images), whole(e.WebSearches), part(e.Seconds), inert(e.Tier),
		strconv.FormatBool(e.UsageKnown), strconv.FormatBool(e.Estimated), cost, e.Saved, part(e.Took), first,
		strconv.Itoa(e.Attempts), strconv.Itoa(e.Step), e.Cache, inert(e.Key), inert(e.Event), inert(metadata), inert(guards),
		whole(e.RequestBytes), whole(e.ResponseBytes), vote, score, inert(e.Comment)})
}

func (x *csvExporter) end() error {
	x.w.Flush()
	return x.w.Error()
}

// inert keeps spreadsheets from taking text for a formula: one that begins with a sign
// of such, or with white space that some skip before it, gets an apostrophe first. So
// does one that begins with an apostrophe, so that it can be told.
func inert(s string) string {
	if strings.HasPrefix(s, "'") || strings.ContainsAny(first(strings.TrimLeft(s, " \t\r\n")), "=+-@\uff1d\uff0b\uff0d\uff20") {
		return "'" + s
	}
	return s
}

// first is the first character, or "".
func first(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}
