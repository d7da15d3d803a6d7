package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// genaiNames says which provider of ours one of genai-prices is. Others keep their
// name.
var genaiNames = map[string]string{
	"aws": "bedrock", "x-ai": "xai", "cloudflare": "workers-ai", "fireworks": "fireworks",
}

// genaiParts says which part of ours a price is, and what to multiply it with.
var genaiParts = map[string]struct {
	name string
	by   *big.Rat
}{
	"input_mtok":            {"input", big.NewRat(1, 1)},
	"cache_read_mtok":       {"cache_read", big.NewRat(1, 1)},
	"cache_write_mtok":      {"cache_write", big.NewRat(1, 1)},
	"cache_write_1h_mtok":   {"cache_write_1h", big.NewRat(1, 1)},
	"input_audio_mtok":      {"audio_input", big.NewRat(1, 1)},
	"output_mtok":           {"output", big.NewRat(1, 1)},
	"output_reasoning_mtok": {"reasoning", big.NewRat(1, 1)},
	"output_image_mtok":     {"image_output", big.NewRat(1, 1)},
	"output_audio_mtok":     {"audio_output", big.NewRat(1, 1)},
	"web_searches_kcount":   {"web_search", big.NewRat(1, 1000)},
	"requests_kcount":       {"request", big.NewRat(1, 1000)},
	"audio_hours":           {"hour", big.NewRat(1, 1)},
}

// genaiUnused are prices of what no usage tells apart; a row says so where leaving
// it out makes the sum too small.
var genaiUnused = map[string]string{
	"input_audio_hours":               "", // the same as audio_hours wherever it is
	"cache_audio_read_mtok":           "", // as cheap as text at most
	"cache_image_read_mtok":           "",
	"storage_searches_kcount":         "",
	"input_image_mtok":                "images read are counted at the price of text",
	"input_video_mtok":                "video read is counted at the price of text",
	"output_video_mtok":               "video made is counted at the price of text",
	"output_citation_mtok":            "citation tokens are not counted",
	"input_text_messages_kcount":      "text messages are not counted",
	"input_document_kpages":           "pages are not counted",
	"input_annotated_document_kpages": "annotated pages are not counted",
}

// leastSeconds are what is charged for shorter audio too; genai-prices has it in its
// code and not in its data.
var leastSeconds = map[string]int{"groq/whisper-large-v3": 10, "groq/whisper-large-v3-turbo": 10}

type genaiProvider struct {
	ID     string
	Models []struct {
		ID     string
		Match  map[string]any
		Prices json.RawMessage
	}
}

// readGenai reads genai-prices. Rows without any price that we use are left out,
// so that their models are unknown rather than free; OpenRouter's free variants,
// which have none there, are one row of zeroes.
func readGenai(files map[string][]byte) ([]*row, error) {
	data, err := evaluate(files["package/dist/index.js"])
	if err != nil {
		return nil, err
	}
	var providers []genaiProvider
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&providers); err != nil {
		return nil, err
	}
	rows := []*row{freeRow()}
	for _, p := range providers {
		name, ok := genaiNames[p.ID]
		if !ok {
			name = strings.Replace(p.ID, "huggingface_", "huggingface/", 1)
		}
		for _, m := range p.Models {
			r := &row{Provider: name, Model: m.ID}
			if r.Match, err = rule(m.Match, m.ID); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", name, m.ID, err)
			}
			r.Least = leastSeconds[name+"/"+m.ID]
			if err := r.readPrices(m.Prices); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", name, m.ID, err)
			}
			if len(r.Prices) > 0 {
				rows = append(rows, r)
			}
		}
	}
	return rows, nil
}

func freeRow() *row {
	zero := new(big.Rat)
	return &row{
		Provider: "openrouter", Model: ":free", Match: json.RawMessage(`{"ends_with":":free"}`),
		Note:   "free variants of all models",
		Prices: []period{{Source: "genai-prices", Prices: prices{"input": zero, "cache_read": zero, "output": zero}}},
	}
}

// evaluate turns the array of providers in the bundle into JSON. Only that literal
// is run, in a context that has nothing in it.
func evaluate(bundle []byte) ([]byte, error) {
	_, rest, ok := bytes.Cut(bundle, []byte("const E = "))
	if !ok {
		return nil, fmt.Errorf("no array of providers in index.js")
	}
	end := bytes.Index(rest, []byte("\n], J = {"))
	if end < 0 {
		return nil, fmt.Errorf("no end of the array of providers in index.js")
	}
	cmd := exec.Command("node", "-e",
		`process.stdout.write(require("vm").runInNewContext("JSON.stringify("+require("fs").readFileSync(0,"utf8")+")",{},{timeout:10000}))`)
	cmd.Stdin = bytes.NewReader(rest[:end+2])
	cmd.Stderr = os.Stderr
	return cmd.Output()
}

func (r *row) readPrices(raw json.RawMessage) error {
	type constraint struct {
		Start string `json:"start_date"`
		From  string `json:"start_time"`
		To    string `json:"end_time"`
	}
	type dated struct {
		Constraint constraint
		Prices     map[string]json.RawMessage
	}
	var list []dated
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
	} else {
		list = make([]dated, 1)
		if err := json.Unmarshal(raw, &list[0].Prices); err != nil {
			return err
		}
	}
	from := ""
	for _, l := range list {
		p := period{Source: "genai-prices", Prices: prices{}}
		if l.Constraint.Start != "" {
			from = l.Constraint.Start // hours that follow are hours of that time
		}
		p.From = from
		if l.Constraint.From != "" {
			p.Hours = strings.TrimSuffix(l.Constraint.From, ":00Z") + "-" + strings.TrimSuffix(l.Constraint.To, ":00Z")
		}
		for _, name := range slices.Sorted(maps.Keys(l.Prices)) {
			if err := r.readPrice(&p, name, l.Prices[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if len(p.Prices) > 0 {
			p.completeTiers()
			r.Prices = append(r.Prices, p)
		}
	}
	return nil
}

func (r *row) readPrice(p *period, name string, v json.RawMessage) error {
	if note, ok := genaiUnused[name]; ok {
		if note != "" && !strings.Contains(r.Note, note) {
			r.Note = strings.TrimPrefix(r.Note+"; "+note, "; ")
		}
		return nil
	}
	part, ok := genaiParts[name]
	if !ok {
		return fmt.Errorf("a kind of price that is not known")
	}
	if v[0] != '{' {
		price, err := rat(string(v))
		if err != nil {
			return err
		}
		p.Prices[part.name] = price.Mul(price, part.by)
		return nil
	}
	var tiered struct {
		Base  json.Number
		Tiers []struct {
			Start int64
			Price json.Number
		}
	}
	if err := json.Unmarshal(v, &tiered); err != nil {
		return err
	}
	price, err := rat(tiered.Base.String())
	if err != nil {
		return err
	}
	p.Prices[part.name] = price
	for _, t := range tiered.Tiers {
		price, err := rat(t.Price.String())
		if err != nil {
			return err
		}
		p.tier(t.Start)[part.name] = price
	}
	return nil
}

// tier returns the prices above so many tokens.
func (p *period) tier(above int64) prices {
	for _, t := range p.Tiers {
		if t.Above == above {
			return t.Prices
		}
	}
	p.Tiers = append(p.Tiers, tier{above, prices{}})
	slices.SortFunc(p.Tiers, func(a, b tier) int { return int(a.Above - b.Above) })
	return p.tier(above)
}

// completeTiers gives every tier all token prices, for parts that stay the same.
func (p *period) completeTiers() {
	last := p.Prices
	for _, t := range p.Tiers {
		for _, n := range names {
			if t.Prices[n] == nil && last[n] != nil {
				t.Prices[n] = last[n]
			}
		}
		last = t.Prices
	}
}

// rat reads a JSON number exactly as it is written.
func rat(s string) (*big.Rat, error) {
	v, ok := new(big.Rat).SetString(s)
	if !ok || v.Sign() < 0 {
		return nil, fmt.Errorf("%q is not a price", s)
	}
	return v, nil
}

// notAfter is how genai-prices says "does not match", which Go's regular
// expressions cannot.
var notAfter = regexp.MustCompile(`^\^\(\?!(.*)\)$`)

// rule is a rule in the form the table has: as it is, but without what says only
// the model's own name, and with "not" for a negative look-ahead.
func rule(m map[string]any, id string) (json.RawMessage, error) {
	if len(m) == 1 && m["equals"] == id {
		return nil, nil
	}
	if err := rewrite(m); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func rewrite(m map[string]any) error {
	for k, v := range m {
		switch v := v.(type) {
		case []any:
			for _, sub := range v {
				sub, ok := sub.(map[string]any)
				if !ok {
					return fmt.Errorf("match rule %q holds %v", k, sub)
				}
				if err := rewrite(sub); err != nil {
					return err
				}
			}
		case string:
			if k != "regex" {
				continue
			}
			if ahead := notAfter.FindStringSubmatch(v); ahead != nil {
				delete(m, "regex")
				m["not"] = map[string]any{"regex": "^" + ahead[1]}
				v = ahead[1]
			}
			if _, err := regexp.Compile(v); err != nil {
				return err
			}
		default:
			return fmt.Errorf("match rule %q holds %v", k, v)
		}
	}
	return nil
}
