package admin

import (
	"context"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/aigateway/route"
)

// ModelRoute is what a call of a model would try.
type ModelRoute struct {
	Route  string      `json:"route"`  // its name; "" where the call goes as it is
	Steps  []ModelStep `json:"steps"`  // the first one first
	Routes []string    `json:"routes"` // names of all that there are
}

// ModelStep is one try.
type ModelStep struct {
	Number  int     `json:"number"`          // in the route, from 1
	Model   string  `json:"model"`           // "provider/model"
	Arm     *int    `json:"arm,omitempty"`   // of a split, from 0
	Timeout float64 `json:"timeout_ms"`      // until the answer begins; 0: the usual
	Retries int     `json:"retries"`         // before the next step; -1: what the client asks for
	On      string  `json:"after,omitempty"` // failures of the steps before that lead here, separated by blanks
}

// ModelRoute says what a call would try: the model as "provider/model" or
// "dynamic/NAME", by an agent, for a reason ("" where that is not known), with
// metadata.
func (p *Plane) ModelRoute(ctx context.Context, model, agent, trigger string, metadata map[string]string) (ModelRoute, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return ModelRoute{}, err
	}
	if model == "" || len(model) > maxWords || len(agent) > maxWords || len(trigger) > maxWords {
		return ModelRoute{}, invalid("want a model, as provider/model or dynamic/NAME", "")
	}
	table := m.Routes()
	out := ModelRoute{Routes: list(table.Names()), Steps: []ModelStep{}}
	plan, ok := table.Find(route.Call{Agent: agent, Trigger: trigger, Model: model, Metadata: metadata})
	if !ok {
		return out, nil
	}
	out.Route = plan.Route
	for _, s := range plan.Steps {
		step := ModelStep{Number: s.Number, Model: s.Model, Timeout: millis(s.Timeout), Retries: s.Retries, On: s.After()}
		if s.Arm >= 0 {
			step.Arm = &s.Arm
		}
		out.Steps = append(out.Steps, step)
	}
	return out, nil
}
