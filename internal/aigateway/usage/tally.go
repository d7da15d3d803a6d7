package usage

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Bounds of what is believed. Beyond them, a number is as good as not said.
const (
	maxCount   = 1 << 32 // tokens of one answer, or of all of one WebSocket
	maxSeconds = 1e8     // of one answer, three years
	maxCost    = 1e6     // dollars of one answer
)

// field is a value that is wanted.
type field uint8

// First those that are counts.
const (
	_ field = iota
	input
	output
	startOutput // as a stream began
	cacheRead
	cacheMiss
	cacheWrite
	cache5m
	cache1h
	cachedAudio
	reasoning
	audioIn
	audioOut
	imageIn
	toolInput
	citations
	total
	searches
	searchUnits
	metricIn // counts of a second source
	metricOut
	metricRead
	metricWrite
	itInput // counts of an element of an array
	itOutput
	itRead
	itWrite
	it5m
	it1h
	counts // how many there are

	model
	tier
	docType
	itemType
	actionType
	finish  // the answer's end, unless it says null or false
	failure // likewise
	query
	seconds
	duration
	cost
	costTicks // a tick is 1e-10 dollars
	upstreamCost
	ownKey
)

// act is something to do as a container opens or shuts.
type act uint8

const (
	_     act = iota
	last      // the answer ends with the document that has this
	fails     // likewise, and it is an error
	iterations
	promptModes
	cacheModes
	answerModes
	cacheLives
	outputItems
	queries
	pictures
	prefill
)

// tally is what was said so far, each value as it was said last.
type tally struct {
	n   [counts]int64
	has uint32 // a bit for each of n that was said
	sum Usage  // of answers that are complete, where more can come

	model, tier  string
	seconds      float64
	cost         int64 // Money
	upstreamCost int64
	ownKey       bool
	text         int64 // bytes of the text that came
	changes      int64 // made by values other than names

	typ, item, action name
	extra             [counts]int64 // iterations that the other counts leave out
	split5m, split1h  int64         // cache writes of all iterations by their life
	promptAudio       int64
	cacheAudio        int64
	answerAudio       int64
	promptImages      int64
	items             int64 // of an array that counts as a whole
	webItems          int64 // searches in the last list of an answer's items
	webEvents         int64 // searches that were announced one by one
	images            int64
	imageEvents       int64
	fed               int64 // elements of prefill
}

func (t *tally) said(f field) bool { return t.has&(1<<f) != 0 }

func (t *tally) say(f field, n int64) {
	t.n[f] = n
	t.has |= 1 << f
}

// least bounds a part by its whole.
func least(part, whole int64) int64 { return max(0, min(part, whole)) }

// leaf takes a wanted value. A string that is too long to be kept comes as nil.
func (m *Meter) leaf(f field, isString bool, v []byte) {
	if f < counts {
		m.changes++
		if n, ok := countOf(v); ok && !isString {
			m.say(f, n)
		}
		return
	}
	switch f {
	case model, tier:
		if isString {
			m.label(f, v)
		}
	case docType:
		if isString {
			m.typ = nameOf(v)
			m.named(m.typ)
		}
	case itemType:
		m.item = nameOf(v)
	case actionType:
		m.action = nameOf(v)
	case finish, failure:
		if isString || string(v) == "true" {
			ends := v == nil || len(v) > 0 || f == finish && m.kind == HuggingFace
			m.final, m.failed = m.final || ends, m.failed || ends && f == failure
		}
	case query:
		m.changes++
		if isString {
			m.items++
		}
	case ownKey:
		m.changes++
		m.ownKey = string(v) == "true"
	default:
		m.changes++
		m.amount(f, v)
	}
}

// label takes a name, if it is one: the names of models go into logs and pages.
func (m *Meter) label(f field, v []byte) {
	to := &m.model
	if f == tier {
		to = &m.tier
	}
	if *to == string(v) || len(v) == 0 {
		return
	}
	s := string(v)
	if bytes.IndexByte(v, '\\') >= 0 && json.Unmarshal([]byte(`"`+s+`"`), &s) != nil {
		return
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '<' {
			return
		}
	}
	*to = s
}

// amount takes a number that may have a fraction; a duration may be a string.
func (m *Meter) amount(f field, v []byte) {
	x, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.IsNaN(x) || x < 0 {
		return
	}
	switch f {
	case seconds:
		if x <= maxSeconds {
			m.seconds = x
		}
	case duration:
		if x <= maxSeconds && m.seconds == 0 {
			m.seconds = x
		}
	case cost:
		if x <= maxCost {
			m.cost = int64(math.Round(x * 1e12))
		}
	case costTicks:
		if x <= maxCost*1e10 {
			m.cost = int64(math.Round(x * 100))
		}
	case upstreamCost:
		if x <= maxCost {
			m.upstreamCost = int64(math.Round(x * 1e12))
		}
	}
}

// countOf reads a number of tokens. Those below zero, with a fraction, or beyond
// belief are none.
func countOf(v []byte) (int64, bool) {
	if len(v) == 0 || v[0] < '0' || v[0] > '9' {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			x, err := strconv.ParseFloat(string(v), 64)
			if err != nil || x != math.Trunc(x) || x > maxCount {
				return 0, false
			}
			return int64(x), true
		}
		if n = n*10 + int64(c-'0'); n > maxCount {
			return 0, false
		}
	}
	return n, true
}

// open is called as a container with an act opens.
func (m *Meter) open(a act, array bool) {
	m.changes++
	if !array {
		m.item, m.action = unnamed, unnamed
		for f := itInput; f <= it1h; f++ {
			m.n[f] = 0
		}
		m.final = m.final || a == last || a == fails
		m.failed = m.failed || a == fails
		return
	}
	m.items = 0
	switch a {
	case iterations:
		m.extra, m.split5m, m.split1h = [counts]int64{}, 0, 0
	case promptModes:
		m.promptAudio, m.promptImages = 0, 0
	case cacheModes:
		m.cacheAudio = 0
	case answerModes:
		m.answerAudio = 0
	case cacheLives:
		m.n[cache5m], m.n[cache1h] = 0, 0
	}
}

// shut is called as a container with an act is complete.
func (m *Meter) shut(a act, array bool) {
	m.changes++
	if array {
		switch a {
		case outputItems:
			m.webItems = m.items
		case queries:
			m.say(searches, m.items)
		case pictures:
			m.images = m.items
		case prefill:
			m.fed = m.items
		}
		return
	}
	n := m.n[itInput]
	switch a {
	case iterations:
		m.iteration()
	case promptModes:
		if m.item == audioMode {
			add(&m.promptAudio, n)
		} else if m.item == imageMode {
			add(&m.promptImages, n)
		}
	case cacheModes:
		if m.item == audioMode {
			add(&m.cacheAudio, n)
		}
	case answerModes:
		if m.item == audioMode {
			add(&m.answerAudio, n)
		}
	case cacheLives:
		if m.item == hour {
			add(&m.n[cache1h], n)
		} else {
			add(&m.n[cache5m], n)
		}
	case outputItems:
		if m.isSearch() {
			m.items++
		}
	case pictures, prefill:
		m.items++
	}
}

// isSearch reports whether the item is a search of the web. Opening a page or
// looking into it is an action of the same tool that is not billed as a search.
func (m *Meter) isSearch() bool {
	return m.item == webSearchCall && (m.action == unnamed || m.action == search)
}

// iteration adds up what one of Anthropic's iterations used. The usage around them
// is the sum of the iterations that made the message; compacting the context, and
// asking an advisor, is billed besides
// (https://docs.anthropic.com/en/docs/build-with-claude/compaction).
func (m *Meter) iteration() {
	if m.item == compaction || m.item == advisorMessage {
		for f := itInput; f <= it1h; f++ {
			add(&m.extra[f], m.n[f])
		}
		return
	}
	add(&m.split5m, m.n[it5m])
	add(&m.split1h, m.n[it1h])
}

func add(to *int64, n int64) { *to = min(*to+n, maxCount) }
