package aigateway

import (
	"bytes"
	"encoding/json"
)

// maxLine bounds what the meter keeps of one line that came in pieces.
const maxLine = 64 << 10

// usage is what a stream said it cost, in tokens; -1 where it said nothing.
type usage struct {
	in, out int64
}

// meter reads a stream of server-sent events as it passes, in pieces of any
// size, and knows whether it is complete. It never changes or delays a byte.
type meter struct {
	form  *form
	line  []byte // start of the current line when it came in pieces
	open  bool   // the current line has bytes
	event bool   // the current event has lines
	final bool   // the current event is the last one of the protocol
	ended bool   // the last event of the protocol is complete
	usage usage
}

func newMeter(f *form) *meter {
	return &meter{form: f, usage: usage{-1, -1}}
}

// Write looks at the next piece of the stream.
func (m *meter) Write(p []byte) {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			m.keep(p)
			return
		}
		line := p[:i]
		if m.open {
			m.keep(line)
			line = m.line
		}
		m.endLine(bytes.TrimSuffix(line, []byte("\r")))
		p = p[i+1:]
	}
}

func (m *meter) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	m.open = true
	m.line = append(m.line, p[:min(len(p), maxLine-len(m.line))]...)
}

func (m *meter) endLine(line []byte) {
	if len(line) == 0 {
		m.ended = m.ended || m.final
		m.event, m.final = false, false
	} else {
		m.event = true
		m.form.line(m, line)
	}
	m.open, m.line = false, m.line[:0]
}

// complete reports whether the stream may end here.
func (m *meter) complete() bool {
	if m.ended {
		return true
	}
	if m.open { // some servers leave out the last line break
		line := bytes.TrimSuffix(m.line, []byte("\r"))
		return m.form == openaiForm && string(sseData(line)) == "[DONE]"
	}
	return false
}

// gap is what must be written first so that a new event begins on a fresh line.
func (m *meter) gap() string {
	switch {
	case m.open:
		return "\n\n"
	case m.event:
		return "\n"
	}
	return ""
}

// sseData is the value of a "data:" line, or nil.
func sseData(line []byte) []byte {
	v, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		return nil
	}
	return bytes.TrimPrefix(v, []byte(" "))
}

func (m *meter) anthropicLine(line []byte) {
	if name, ok := bytes.CutPrefix(line, []byte("event:")); ok {
		name = bytes.TrimSpace(name)
		m.final = m.final || string(name) == "message_stop" || string(name) == "error"
		return
	}
	if !bytes.Contains(line, []byte("usage")) && !bytes.Contains(line, []byte("message_stop")) {
		return
	}
	var d struct {
		Type    string
		Message struct{ Usage anthropicUsage }
		Usage   anthropicUsage
	}
	if json.Unmarshal(sseData(line), &d) != nil {
		return
	}
	switch d.Type {
	case "message_start":
		m.addAnthropic(d.Message.Usage)
	case "message_delta":
		m.addAnthropic(d.Usage)
	case "message_stop": // of a server that names no events
		m.final = true
	}
}

// anthropicUsage counts disjoint parts of the input; later events repeat or
// complete earlier ones.
type anthropicUsage struct {
	Input      *int64 `json:"input_tokens"`
	CacheRead  *int64 `json:"cache_read_input_tokens"`
	CacheWrite *int64 `json:"cache_creation_input_tokens"`
	Output     *int64 `json:"output_tokens"`
}

func (m *meter) addAnthropic(u anthropicUsage) {
	if u.Input != nil {
		m.usage.in = *u.Input
		for _, part := range []*int64{u.CacheRead, u.CacheWrite} {
			if part != nil {
				m.usage.in += *part
			}
		}
	}
	if u.Output != nil {
		m.usage.out = *u.Output
	}
}

func (m *meter) openaiLine(line []byte) {
	data := sseData(line)
	if string(data) == "[DONE]" {
		m.ended = true
		return
	}
	if bytes.HasPrefix(data, []byte(`{"error"`)) {
		m.final = true
		return
	}
	if !bytes.Contains(data, []byte(`_tokens"`)) {
		return
	}
	var d struct {
		Usage *struct {
			In  int64 `json:"prompt_tokens"`
			Out int64 `json:"completion_tokens"`
		}
	}
	if json.Unmarshal(data, &d) == nil && d.Usage != nil {
		m.usage = usage{d.Usage.In, d.Usage.Out}
	}
}
