package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

// modelPath is a path of the API below the models.
func modelPath(q url.Values, parts ...string) string {
	path := "/api/admin/models"
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

// ModelUsage says what the calls of today and of this month came to.
func (c *Client) ModelUsage(ctx context.Context, q calllog.Query) (u admin.ModelUsage, err error) {
	return u, c.get(ctx, modelPath(admin.SumsQuery(q), "usage"), &u)
}

// ModelSeries adds calls up by time and group.
func (c *Client) ModelSeries(ctx context.Context, q calllog.Query, by calllog.Group) ([]admin.ModelPoint, error) {
	var list api.Series
	v := admin.SumsQuery(q)
	v.Set("by", string(by))
	return list.Points, c.get(ctx, modelPath(v, "series"), &list)
}

// ModelTop lists the most expensive groups of calls.
func (c *Client) ModelTop(ctx context.Context, q calllog.Query, by calllog.Group, n int) ([]admin.ModelRank, error) {
	var list api.Top
	v := admin.SumsQuery(q)
	v.Set("by", string(by))
	v.Set("limit", strconv.Itoa(n))
	return list.Groups, c.get(ctx, modelPath(v, "top"), &list)
}

// ModelCalls lists calls, newest first, those before one unless that is "".
func (c *Client) ModelCalls(ctx context.Context, f calllog.Filter, before string, limit int) (page admin.ModelCalls, err error) {
	v := admin.CallsQuery(f)
	v.Set("limit", strconv.Itoa(limit))
	if before != "" {
		v.Set("before", before)
	}
	return page, c.get(ctx, modelPath(v, "calls"), &page)
}

// ExportModelCalls copies all calls that are meant to w. After an error what was written
// is a part.
func (c *Client) ExportModelCalls(ctx context.Context, f calllog.Filter, format calllog.Format, w io.Writer) error {
	v := admin.CallsQuery(f)
	v.Set("format", string(format))
	_, err := c.copy(ctx, http.MethodGet, modelPath(v, "calls", "export"), nil, w)
	return err
}

// ModelCall returns one call.
func (c *Client) ModelCall(ctx context.Context, id string) (call admin.ModelCall, err error) {
	return call, c.get(ctx, modelPath(nil, "calls", id), &call)
}

// ModelPayload returns what was said in a call.
func (c *Client) ModelPayload(ctx context.Context, id string) (said admin.ModelPayload, err error) {
	return said, c.get(ctx, modelPath(nil, "calls", id, "payload"), &said)
}

// RateModelCall says what somebody thought of a call's answer.
func (c *Client) RateModelCall(ctx context.Context, id string, f admin.ModelFeedback) error {
	return c.send(ctx, http.MethodPut, modelPath(nil, "calls", id, "feedback"), f)
}

// ModelBudgets says what agents may spend, and how that stands.
func (c *Client) ModelBudgets(ctx context.Context) (b admin.ModelBudgets, err error) {
	return b, c.get(ctx, modelPath(nil, "budgets"), &b)
}

// SetBudget sets a rule.
func (c *Client) SetBudget(ctx context.Context, r budget.Rule) error {
	return c.send(ctx, http.MethodPut, modelPath(nil, "budgets", r.ID), r)
}

// RemoveBudget removes a rule.
func (c *Client) RemoveBudget(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, modelPath(nil, "budgets", id), nil, nil)
}

// AddCredit gives an agent or a team credit.
func (c *Client) AddCredit(ctx context.Context, g budget.Grant) (made budget.Grant, err error) {
	order := map[string]any{"id": g.ID, "agent": g.Agent, "team": g.Team, "amount": g.Amount, "note": g.Note}
	return made, c.post(ctx, modelPath(nil, "credit"), order, &made)
}

// StopModels keeps calls from being made.
func (c *Client) StopModels(ctx context.Context, agent, trigger, reason string) error {
	return c.send(ctx, http.MethodPost, modelPath(nil, "stop"), api.Stopping{Agent: agent, Trigger: trigger, Reason: reason})
}

// ResumeModels lets calls be made again.
func (c *Client) ResumeModels(ctx context.Context, agent, trigger string) error {
	return c.send(ctx, http.MethodPost, modelPath(nil, "resume"), api.Stopping{Agent: agent, Trigger: trigger})
}

// SetHeartbeats says what agents may spend on waking up by themselves.
func (c *Client) SetHeartbeats(ctx context.Context, h budget.Heartbeats) error {
	return c.send(ctx, http.MethodPut, modelPath(nil, "heartbeats"), map[string]any{"quiet_hours": h.QuietHours, "day_limit": h.DayLimit})
}

// ModelStatement copies what was spent in a month to w, as "csv" or "json".
func (c *Client) ModelStatement(ctx context.Context, month, agent, team, format string, w io.Writer) error {
	v := url.Values{"month": {month}, "agent": {agent}, "team": {team}, "format": {format}}
	_, err := c.copy(ctx, http.MethodGet, modelPath(v, "statement"), nil, w)
	return err
}

// ModelRoute says what a call would try; metadata are NAME=VALUE pairs.
func (c *Client) ModelRoute(ctx context.Context, model, agent, trigger string, metadata []string) (found admin.ModelRoute, err error) {
	v := url.Values{"model": {model}, "agent": {agent}, "trigger": {trigger}, "metadata": metadata}
	return found, c.get(ctx, modelPath(v, "route"), &found)
}

// ModelPrices lists what models cost whose names have all words of search in them.
func (c *Client) ModelPrices(ctx context.Context, search string, limit int) (found admin.ModelPrices, err error) {
	v := url.Values{"search": {search}, "limit": {strconv.Itoa(limit)}}
	return found, c.get(ctx, modelPath(v, "prices"), &found)
}

// send sends v where there is no answer but that it went well.
func (c *Client) send(ctx context.Context, method, path string, v any) error {
	b, err := body(v)
	if err != nil {
		return err
	}
	return c.call(ctx, method, path, b, nil)
}
