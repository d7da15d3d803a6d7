package route

import (
	"fmt"
	"strings"
	"testing"
)

// crowd makes a file of 100 routes. Each has the given conditions, in which # is its
// number.
func crowd(conditions string) string {
	var all []string
	for i := range maxRoutes {
		all = append(all, strings.ReplaceAll(`{"name": "r-#", "when": `+conditions+`, "steps": [{"model": "a/b"}, {}]}`, "#", fmt.Sprint(i)))
	}
	return `{"routes": [` + strings.Join(all, ",") + `]}`
}

func BenchmarkFind(b *testing.B) {
	literal := `{"agents": ["work-#", "home-#", "play-#"], "models": ["anthropic/claude-sonnet-5-5", "openai/gpt-#"], "triggers": ["user", "channel"]}`
	globs := `{"agents": ["work-#-*", "home-#-*"], "models": ["*/claude-#*", "openai/*-#"], "triggers": ["user"]}`
	hard := `{"agents": ["*a*b#*c*"], "models": ["*claude*#*x*"]}`
	metadata := `{"agents": ["work-*"], "metadata": {"plan": ["paid-#", "trial-#-*"]}}`
	call := func(agent, model string) Call {
		return Call{Agent: agent, Trigger: "user", Model: model, Metadata: map[string]string{"plan": "paid-99", "user": "u"}}
	}
	for _, c := range []struct {
		name, conditions string
		call             Call
		want             string
	}{
		{"literal/none", literal, call("nobody", "anthropic/claude-sonnet-5-5"), ""},
		{"literal/last", literal, call("play-99", "anthropic/claude-sonnet-5-5"), "r-99"},
		{"globs/none", globs, call("nobody", "anthropic/claude-sonnet-5-5"), ""},
		{"globs/last", globs, call("home-99-x", "openai/gpt-99"), "r-99"},
		{"hard/none", hard, call("a-long-name-with-b-and-c-of-an-agent", "openrouter/anthropic/claude-sonnet-5-5"), ""},
		{"metadata/last", metadata, call("work-1", "anthropic/claude-sonnet-5-5"), "r-99"},
		{"by-name", literal, call("nobody", "dynamic/r-99"), "r-99"},
	} {
		b.Run(c.name, func(b *testing.B) {
			table := parse(b, crowd(c.conditions))
			b.ReportAllocs()
			for b.Loop() {
				if p, _ := table.Find(c.call); p.Route != c.want {
					b.Fatal(p.Route)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	doc := []byte(crowd(`{"agents": ["work-#", "home-*"], "metadata": {"plan": ["paid"]}}`))
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := Parse(doc); err != nil {
			b.Fatal(err)
		}
	}
}
