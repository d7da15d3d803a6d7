package translate

import (
	"encoding/json"
	"slices"
	"strings"
)

// thinking is how hard the model is to think before it answers. Anthropic counts it
// in tokens up to its generation 4.5 and in levels since 4.6, OpenAI in levels, Gemini
// in tokens up to 2.5 and in levels since 3.
type thinking struct {
	on, off bool   // neither: unsaid
	effort  string // one of efforts, or ""
	budget  int64  // tokens, or 0
	show    bool   // the client wants to see it
}

// efforts are the levels, from the lowest.
var efforts = []string{"minimal", "low", "medium", "high", "xhigh", "max"}

// What a level is in tokens: Google's own table
// (https://ai.google.dev/gemini-api/docs/openai#thinking), whose highest is 24,576.
var effortBudget = map[string]int64{
	"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768,
}

// level is the effort that was asked for, by level or by tokens; "" if by neither.
func (t thinking) level() string {
	switch {
	case t.effort != "" || t.budget <= 0:
		return t.effort
	case t.budget <= effortBudget["low"]:
		return "low"
	case t.budget <= effortBudget["medium"]:
		return "medium"
	}
	return "high"
}

// tokens is the budget that was asked for; "high" is what Anthropic takes when nothing
// is said.
func (t thinking) tokens() int64 {
	switch {
	case t.budget > 0:
		return t.budget
	case t.effort != "":
		return effortBudget[t.effort]
	}
	return effortBudget["high"]
}

// atMost bounds a level; the second result tells whether it was changed.
func atMost(level, bound string) (string, bool) {
	if slices.Index(efforts, level) > slices.Index(efforts, bound) {
		return bound, true
	}
	return level, false
}

type anthropicThinking struct {
	Type         string      `json:"type"`
	BudgetTokens json.Number `json:"budget_tokens,omitempty"`
	Display      string      `json:"display,omitempty"`
}

// anthropicThinks words thinking for Anthropic
// (https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking, .../effort
// and .../extended-thinking). Levels are understood since 4.6 and are the only way
// since 4.7. Models that are not Claude but speak its form know tokens.
func (c *conversation) anthropicThinks(model string, maxTokens int64) (t *anthropicThinking, effort string) {
	v, claude := versionOf(model, "claude")
	switch {
	case c.thinking.off && !claude:
		return &anthropicThinking{Type: "disabled"}, ""
	case c.thinking.off && v.atLeast(5, 0): // these think anyway, and some refuse "disabled"
		c.lost.add("thinking_off")
		return nil, "low"
	case !c.thinking.on:
		return nil, ""
	case c.choice == choiceAny: // "Thinking may not be enabled when tool_choice forces tool use"
		c.lost.add("effort")
		return nil, ""
	case claude && v.atLeast(4, 6):
		return c.adaptive(v)
	}
	budget := min(c.thinking.tokens(), maxTokens/2) // it counts towards max_tokens
	// A turn of calls has to begin with its thinking, which could not be carried.
	impossible := budget < 1024 || c.endsWithResult() || c.endsWithAssistant()
	if impossible || claude && !v.atLeast(3, 7) {
		c.lost.add("effort")
		return nil, ""
	}
	return &anthropicThinking{Type: "enabled", BudgetTokens: intNumber(budget)}, ""
}

func (c *conversation) adaptive(v modelVersion) (t *anthropicThinking, effort string) {
	t = &anthropicThinking{Type: "adaptive"}
	if c.thinking.show {
		t.Display = "summarized" // newer generations omit it unless told
	}
	effort = c.thinking.level()
	if effort == "minimal" {
		effort = "low"
		c.lost.add("effort")
	}
	if effort == "xhigh" && !v.atLeast(4, 7) {
		effort = "high"
		c.lost.add("effort")
	}
	return t, effort
}

// chatEffort words thinking for OpenAI's form (reasoning_effort of
// https://platform.openai.com/docs/api-reference/chat/create).
func (c *conversation) chatEffort(m chatModel) string {
	t := c.thinking
	switch {
	case !t.on && !t.off:
		return ""
	// "Function tools with reasoning_effort are not supported for gpt-5.4 in
	// /v1/chat/completions", and later ones.
	case !m.thinks || m.openAI && m.version.atLeast(5, 4) && len(c.tools) > 0:
		if t.on {
			c.lost.add("effort")
		}
		return ""
	case t.off && m.series:
		c.lost.add("thinking_off")
		return "low"
	case t.off && m.openAI && !m.version.atLeast(5, 1):
		c.lost.add("thinking_off")
		return "minimal"
	case t.off:
		return "none"
	}
	level := t.level()
	if level == "" {
		return "high" // what Anthropic and Gemini 3 take when nothing is said
	}
	changed := level == "minimal"
	if changed {
		level = "low" // "minimal" is known to gpt-5 alone
	}
	bound := "high"
	if m.openAI && m.version.atLeast(5, 2) {
		bound = "xhigh"
	}
	level, lower := atMost(level, bound)
	if changed || lower {
		c.lost.add("effort")
	}
	return level
}

type geminiThinking struct {
	ThinkingBudget  json.Number `json:"thinkingBudget,omitempty"` // 0: none; -1: as the model sees fit
	ThinkingLevel   string      `json:"thinkingLevel,omitempty"`
	IncludeThoughts bool        `json:"includeThoughts,omitempty"`
}

// geminiThinks words thinking for Gemini (https://ai.google.dev/gemini-api/docs/thinking).
// Budget and level together are refused; before 2.5 both are.
func (c *conversation) geminiThinks(model string) *geminiThinking {
	t := c.thinking
	v, gemini := versionOf(model, "gemini")
	switch {
	case !t.on && !t.off:
		return nil
	case !gemini || !v.atLeast(2, 5):
		if t.on {
			c.lost.add("effort")
		}
		return nil
	case !v.atLeast(3, 0):
		budget := c.geminiBudget(model)
		return &geminiThinking{ThinkingBudget: intNumber(budget), IncludeThoughts: t.on && t.show}
	case t.off: // these cannot be told not to; "minimal" is not known to all of them
		c.lost.add("thinking_off")
		return &geminiThinking{ThinkingLevel: "LOW"}
	}
	level, changed := atMost(t.level(), "high")
	if level == "minimal" {
		level, changed = "low", true
	}
	if level == "medium" && strings.Contains(strings.ToLower(model), "gemini-3-pro") {
		level, changed = "high", true // it has low and high only
	}
	if changed {
		c.lost.add("effort")
	}
	if level == "" && !t.show {
		return nil // it thinks as it sees fit by itself
	}
	return &geminiThinking{ThinkingLevel: strings.ToUpper(level), IncludeThoughts: t.show}
}

// geminiBudget bounds a budget by what 2.5 takes: Pro 128 to 32,768, Flash 0 to 24,576,
// Flash-Lite 512 to 24,576 or 0.
func (c *conversation) geminiBudget(model string) int64 {
	t := c.thinking
	least, most := int64(512), int64(24576)
	pro := strings.Contains(strings.ToLower(model), "pro")
	if pro {
		least, most = 128, 32768
	}
	switch {
	case t.off && pro:
		c.lost.add("thinking_off")
		return least
	case t.off:
		return 0
	case t.effort == "" && t.budget <= 0:
		return -1
	}
	return min(max(t.tokens(), least), most)
}
