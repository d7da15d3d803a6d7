package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/remedy"
)

// What a person may put into the data directory about models. Each file is read when
// the server starts, and nothing is where it is not.
const (
	pricesFile = "prices.json" // prices that count before those built in
	guardsFile = "guards.json" // what is looked for in agents' calls
	routesFile = "routes.json" // which models calls try in turn
)

// loadPrices is the table of prices, with a person's own over it.
func loadPrices(path string) (*price.Table, error) {
	own, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the prices of models: %w", err)
	}
	table, err := price.Load(own)
	if err != nil {
		return nil, remedy.With(fmt.Errorf("%s: %w", path, err), "correct it, or move it away to use the prices that are built in")
	}
	return table, nil
}

// loadGuards compiles the guardrails of agents; nil where there is no file.
func loadGuards(path string, hashKey []byte) (func(caller string) *guardrail.Rules, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the guardrails: %w", err)
	}
	var file struct {
		Default guardrail.Policy            `json:"default"`
		Agents  map[string]guardrail.Policy `json:"agents"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, remedy.With(fmt.Errorf("%s: %w", path, err), "docs/models.md says what it looks like")
	}
	guard := guardrail.New(hashKey)
	usual, err := guard.Compile(file.Default)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	own := map[string]*guardrail.Rules{}
	for name, policy := range file.Agents {
		if own[name], err = guard.Compile(policy); err != nil {
			return nil, fmt.Errorf("%s: agent %s: %w", path, name, err)
		}
	}
	return func(caller string) *guardrail.Rules {
		if rules, ok := own[caller]; ok {
			return rules
		}
		return usual
	}, nil
}

// loadRoutes reads the routes of calls; nil where there is no file.
func loadRoutes(path string) (*route.Table, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the routes of model calls: %w", err)
	}
	table, err := route.Parse(text)
	if err != nil {
		return nil, remedy.With(fmt.Errorf("%s: %w", path, err), "docs/models.md says what it looks like")
	}
	return table, nil
}
