package budget

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Row is what one agent spent on one model in a month.
type Row struct {
	Agent, Team, Provider, Model string

	Calls     int64
	Tokens    int64
	Money     price.Money
	Unknown   int64       // calls whose price is not known: Money lacks them
	Unsettled int64       // calls whose end is not known
	Estimated price.Money // part of Money: what was reserved for those
}

// Statement lists what was spent in a month of the ledger's zone, in the order of
// agent, team, provider and model. Of agent and team, "" stands for all. The days of
// the newest three months that had calls are kept apart, and 120 months in all.
func (l *Ledger) Statement(year int, month time.Month, agent, team string) []Row {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.expire(l.now())
	}
	if year < 1 || year > 9999 || month < 1 || month > 12 {
		return nil
	}
	sh := l.book.months[int32(year*100+int(month))]
	if sh == nil {
		return nil
	}
	sums := map[who]*tally{}
	for k, t := range sh.rows {
		if agent != "" && k.who.Agent != agent || team != "" && k.who.Team != team {
			continue
		}
		w := k.who
		w.Trigger = ""
		if sums[w] == nil {
			sums[w] = &tally{}
		}
		sums[w].add(*t)
	}
	out := make([]Row, 0, len(sums))
	for w, t := range sums {
		out = append(out, Row{w.Agent, w.Team, w.Provider, w.Model, t.Calls, t.Tokens, t.Money, t.Unknown, t.Unsettled, t.UnsettledMoney})
	}
	slices.SortFunc(out, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Agent, b.Agent), strings.Compare(a.Team, b.Team),
			strings.Compare(a.Provider, b.Provider), strings.Compare(a.Model, b.Model))
	})
	return out
}

// exact writes an amount in dollars with all its digits.
func exact(m price.Money) string {
	sign := ""
	if m < 0 {
		sign, m = "-", -max(m, -maxInt64)
	}
	return fmt.Sprintf("%s%d.%012d", sign, m/price.Dollar, m%price.Dollar)
}

// WriteCSV writes a statement as a table with a head. Names that a spreadsheet would
// take for a formula have an apostrophe before them.
func WriteCSV(w io.Writer, rows []Row) error {
	out := csv.NewWriter(w)
	lines := [][]string{{"agent", "team", "provider", "model", "calls", "tokens", "usd", "calls_of_unknown_price", "unsettled_calls", "unsettled_usd"}}
	for _, r := range rows {
		lines = append(lines, []string{
			cell(r.Agent), cell(r.Team), cell(r.Provider), cell(r.Model),
			strconv.FormatInt(r.Calls, 10), strconv.FormatInt(r.Tokens, 10), exact(r.Money),
			strconv.FormatInt(r.Unknown, 10), strconv.FormatInt(r.Unsettled, 10), exact(r.Estimated),
		})
	}
	return out.WriteAll(lines)
}

func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// WriteJSON writes a statement as an array of objects. Dollars are strings, as they
// have more digits than a number in JSON is safe with.
func WriteJSON(w io.Writer, rows []Row) error {
	type row struct {
		Agent     string `json:"agent"`
		Team      string `json:"team"`
		Provider  string `json:"provider"`
		Model     string `json:"model"`
		Calls     int64  `json:"calls"`
		Tokens    int64  `json:"tokens"`
		USD       string `json:"usd"`
		Unknown   int64  `json:"calls_of_unknown_price"`
		Unsettled int64  `json:"unsettled_calls"`
		Estimated string `json:"unsettled_usd"`
	}
	out := make([]row, 0, len(rows))
	for _, r := range rows {
		out = append(out, row{r.Agent, r.Team, r.Provider, r.Model, r.Calls, r.Tokens, exact(r.Money), r.Unknown, r.Unsettled, exact(r.Estimated)})
	}
	return json.NewEncoder(w).Encode(out)
}
