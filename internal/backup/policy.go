package backup

import (
	"fmt"
	"time"
)

// keep says which of the versions, given oldest first, the policy keeps. A policy
// that asks for nothing keeps all.
func (p Policy) keep(versions []Version) map[uint64]bool {
	kept := map[uint64]bool{}
	if p == (Policy{}) {
		for _, v := range versions {
			kept[v.Seq] = true
		}
		return kept
	}
	rules := []struct {
		n      int
		period func(time.Time) string
	}{
		{p.Hourly, func(t time.Time) string { return t.Format("2006-01-02 15") }},
		{p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{p.Weekly, func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d %d", year, week)
		}},
		{p.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	}
	for i := range versions {
		v := versions[len(versions)-1-i]
		if i == 0 || i < p.Last {
			kept[v.Seq] = true
		}
	}
	for _, rule := range rules {
		seen := map[string]bool{}
		for i := len(versions) - 1; i >= 0 && len(seen) < rule.n; i-- {
			period := rule.period(versions[i].Time.UTC())
			if !seen[period] {
				seen[period] = true
				kept[versions[i].Seq] = true
			}
		}
	}
	return kept
}
