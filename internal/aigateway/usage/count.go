package usage

import "strings"

// Usage is what the answer consumed, as far as its API said.
func (m *Meter) Usage() Usage {
	u := m.count()
	if m.kind == Realtime {
		u = m.sum
	}
	u.Model, u.Tier = m.model, tierOf(m.tier)
	return u
}

// BytesPerToken is how many bytes of text are taken for a token where nobody says.
// Models differ, and languages more: English has about four bytes of text a token,
// others and code less.
const BytesPerToken = 4

// Estimate is Usage with what the API did not say worked out from bytes, for an
// answer that broke off before it said: the input from the bytes of the request,
// the output from those of the text that came, or, where the form of the answer is
// not known, of all that came. What the API did say stays as it is. Requests that
// hold images or files as text, and unknown forms, are overestimated.
func (m *Meter) Estimate(requestBytes int64) Usage {
	u := m.Usage()
	if u.Images > 0 || u.Seconds > 0 || u.SearchUnits > 0 || u.Stated > 0 {
		return u // it is not paid by token, or it is known what is paid
	}
	if !m.saidInput() {
		u.Input = max(u.Input, tokensOf(requestBytes))
		u.Estimated = u.Estimated || u.Input > 0
	}
	text := m.text
	if m.kind == Opaque && m.framing != Unframed {
		text = m.bytes
	}
	if !m.saidOutput() && tokensOf(text) > u.Output {
		u.Output = tokensOf(text)
		u.Estimated = true
	}
	return u
}

func tokensOf(n int64) int64 {
	return min(max(0, n)/BytesPerToken+min(1, max(0, n)%BytesPerToken), maxCount)
}

func (t *tally) saidInput() bool {
	return t.said(input) || t.said(metricIn) || t.said(cacheMiss) || t.sum.Known || t.fed > 0
}

func (t *tally) saidOutput() bool {
	return t.said(output) || t.said(metricOut) || t.sum.Known
}

func (m *Meter) count() Usage {
	t := m.tally // a copy, as reading must change nothing
	var u Usage
	switch m.kind {
	case Anthropic:
		u = t.anthropic()
	case Gemini:
		u = t.gemini()
	case Converse:
		u = t.disjoint()
	case BedrockRaw: // the model's own counts, and Bedrock's where it has none
		t.fallBack()
		u = t.anthropic()
	case Cohere: // what is billed, and what was read where nothing is said of that
		t.fallBack()
		u = t.nested()
	case HuggingFace:
		if t.fed > 0 && !t.said(input) {
			t.say(input, t.fed)
		}
		u = t.nested()
	default:
		u = t.nested()
	}
	u.WebSearches = max(t.n[searches], t.webItems, t.webEvents)
	u.SearchUnits = t.n[searchUnits]
	u.Images = max(t.images, t.imageEvents)
	u.Seconds = t.seconds
	u.Stated = t.stated()
	u.Known = t.saidInput() || t.saidOutput() || t.said(startOutput) ||
		u.SearchUnits > 0 || u.Images > 0 || u.Seconds > 0 || u.Stated > 0
	return u
}

// nested counts as OpenAI does: what came from the cache, and audio, is part of the
// prompt; reasoning, and audio, part of the output.
func (t *tally) nested() Usage {
	prompt, out, think := t.n[input], t.n[output], t.n[reasoning]
	if !t.said(input) {
		prompt = t.n[cacheRead] + t.n[cacheMiss]
	}
	if think > out || think > 0 && t.n[total]-prompt-out >= think {
		// xAI counts reasoning beside the completion, and only its total has both;
		// Perplexity's research beside both. https://docs.x.ai/docs/guides/reasoning
		out += think
	}
	var u Usage
	u.CacheRead = least(t.n[cacheRead], prompt)
	prompt -= u.CacheRead
	u.CacheWrite5m = least(t.n[cacheWrite], prompt)
	prompt -= u.CacheWrite5m
	u.AudioInput = least(t.n[audioIn]-t.n[cachedAudio], prompt)
	prompt -= u.AudioInput
	u.ImageInput = least(t.n[imageIn], prompt)
	u.Input = prompt + t.n[citations]
	u.AudioOutput = least(t.n[audioOut], out)
	u.Output = out - u.AudioOutput
	u.Reasoning = least(think, u.Output)
	return u
}

// disjoint counts as Anthropic and Amazon do: input is what neither came from the
// cache nor went into it.
func (t *tally) disjoint() Usage {
	u := Usage{Input: t.n[input], CacheRead: t.n[cacheRead], Output: t.n[output]}
	u.CacheWrite5m, u.CacheWrite1h = t.writes()
	u.Reasoning = least(t.n[reasoning], u.Output)
	return u
}

// writes splits what was written to the cache by how long it stays. The split may
// be older than the sum, as streams repeat only the sum, which goes on growing while
// tools of the server are called; what it lacks is of the same lives.
func (t *tally) writes() (short, long int64) {
	short, long = t.n[cache5m], t.n[cache1h]
	if t.split5m+t.split1h > short+long {
		short, long = t.split5m, t.split1h
	}
	sum := t.n[cacheWrite]
	switch rest := sum - short - long; {
	case !t.said(cacheWrite) || rest == 0:
	case rest < 0: // they contradict; the sum is what is billed
		long = min(long, sum)
		short = sum - long
	case short == 0:
		if long > 0 {
			long += rest
		} else {
			short = rest
		}
	default:
		part := int64(float64(rest) * (float64(long) / float64(short+long)))
		long += part
		short += rest - part
	}
	return short, long
}

func (t *tally) anthropic() Usage {
	u := t.disjoint()
	if !t.said(output) {
		u.Output = t.n[startOutput]
	}
	u.Input += t.extra[itInput]
	u.Output += t.extra[itOutput]
	u.CacheRead += t.extra[itRead]
	long := least(t.extra[it1h], t.extra[itWrite])
	u.CacheWrite1h += long
	u.CacheWrite5m += t.extra[itWrite] - long
	return u
}

// fallBack takes the counts of the second source where the first has none.
func (t *tally) fallBack() {
	for _, f := range [][2]field{{input, metricIn}, {output, metricOut}, {cacheRead, metricRead}, {cacheWrite, metricWrite}} {
		if !t.said(f[0]) && t.said(f[1]) {
			t.say(f[0], t.n[f[1]])
		}
	}
}

// gemini: the prompt includes what came from the cache; thoughts are not part of
// the candidates, and what tools read is not part of the prompt.
func (t *tally) gemini() Usage {
	var u Usage
	prompt := t.n[input]
	u.CacheRead = least(t.n[cacheRead], prompt)
	prompt -= u.CacheRead
	u.AudioInput = least(t.promptAudio-t.cacheAudio, prompt)
	prompt -= u.AudioInput
	u.ImageInput = least(t.promptImages, prompt)
	u.Input = prompt + t.n[toolInput]
	u.AudioOutput = least(t.answerAudio, t.n[output])
	u.Reasoning = t.n[reasoning]
	u.Output = t.n[output] - u.AudioOutput + u.Reasoning
	return u
}

// stated is what the API says that the answer cost. With a key of one's own,
// OpenRouter's cost is only its fee.
func (t *tally) stated() int64 {
	if t.ownKey {
		return t.cost + t.upstreamCost
	}
	return t.cost
}

func tierOf(s string) string {
	switch s = strings.ToLower(s); s {
	case "default", "on_demand":
		return "standard"
	case "auto": // what was asked for, not what served
		return ""
	}
	return s
}

// sumDocument does what can be done only as a document is complete.
func (m *Meter) sumDocument() {
	switch {
	case m.kind == Realtime:
		m.sumResponse()
	case m.kind == Responses && m.typ == itemDone && m.isSearch():
		m.changes++
		m.webEvents++
	case m.kind == Images && m.typ == imageDone:
		m.changes++
		m.imageEvents++
	}
}

// sumResponse adds a response of a WebSocket to those before it.
func (m *Meter) sumResponse() {
	m.changes++
	if m.typ == realtimeDone && m.said(input) {
		u := m.count()
		s := &m.sum
		for _, p := range [][2]*int64{{&s.Input, &u.Input}, {&s.CacheRead, &u.CacheRead}, {&s.AudioInput, &u.AudioInput},
			{&s.ImageInput, &u.ImageInput}, {&s.Output, &u.Output}, {&s.AudioOutput, &u.AudioOutput}, {&s.Reasoning, &u.Reasoning}} {
			add(p[0], *p[1])
		}
		s.Known = true
	}
	m.n, m.has = [counts]int64{}, 0
}
