package aigateway

import (
	"strings"
	"testing"
)

func TestMeterKnowsWhenAStreamIsComplete(t *testing.T) {
	tests := []struct {
		form     *form
		stream   string
		complete bool
	}{
		{anthropicForm, "", false},
		{anthropicForm, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true},
		{anthropicForm, "event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n", true},
		{anthropicForm, "event:message_stop\ndata:{}\n\n", true},
		{anthropicForm, "data: {\"type\": \"message_stop\"}\n\n", true},
		{anthropicForm, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n", false},
		{anthropicForm, "event: message_stop\ndata: {\"type\":\"mess", false},
		{anthropicForm, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"message_stop\"}}\n\n", false},
		{anthropicForm, "event: content_block_delta\ndata: {\"text\":\"event: message_stop\\n\\n\"}\n\n", false},
		{anthropicForm, "event: error\ndata: {\"type\":\"error\"}\n\n", true},
		{anthropicForm, "event: ping\ndata: {}\n\n", false},
		{anthropicForm, "data: [DONE]\n\n", false},
		{openaiForm, "data: {\"choices\":[]}\n\n", false},
		{openaiForm, "data: {\"choices\":[]}\n\ndata: [DONE]\n\n", true},
		{openaiForm, "data:[DONE]\r\n", true},
		{openaiForm, "data: [DONE]", true},
		{openaiForm, "data: [DON", false},
		{openaiForm, "data: {\"choices\":[{\"delta\":{\"content\":\"data: [DONE]\"}}]}\n\n", false},
		{openaiForm, "data: {\"error\":{\"message\":\"x\"}}\n\n", true},
		{openaiForm, ": comment\n\n", false},
	}
	for _, tt := range tests {
		for size := 1; size <= len(tt.stream)+1; size++ {
			m := newMeter(tt.form)
			for rest := tt.stream; rest != ""; {
				n := min(size, len(rest))
				m.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			if m.complete() != tt.complete {
				t.Errorf("%q in pieces of %d: complete %v", tt.stream, size, m.complete())
			}
		}
	}
}

func TestMeterReadsUsage(t *testing.T) {
	tests := []struct {
		form   *form
		stream string
		want   usage
	}{
		{anthropicForm, "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"usage\"}}\n\n", usage{-1, -1}},
		{anthropicForm, "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":20,\"output_tokens\":1}}}\n\n" +
			"data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":42}}\n\n", usage{123, 42}},
		{openaiForm, "data: {\"choices\":[],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n", usage{9, 4}},
		{openaiForm, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":\n\n", usage{-1, -1}},
	}
	for _, tt := range tests {
		m := newMeter(tt.form)
		m.Write([]byte(tt.stream))
		if m.usage != tt.want {
			t.Errorf("%q: %v", tt.stream, m.usage)
		}
	}
}

// A line without end costs a bounded amount of memory.
func TestMeterIsBounded(t *testing.T) {
	m := newMeter(openaiForm)
	for range 100 {
		m.Write([]byte(strings.Repeat("x", 64<<10)))
	}
	if len(m.line) > maxLine || cap(m.line) > 2*maxLine {
		t.Errorf("keeps %d bytes", cap(m.line))
	}
}

// How a stream is cut into pieces makes no difference to what the meter knows.
func FuzzMeter(f *testing.F) {
	f.Add("event: message_stop\r\ndata: {\"type\":\"message_stop\"}\n\n", uint8(3), true)
	f.Add("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\ndata: [DONE]\n", uint8(1), false)
	f.Add("data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":-1e9}}\n\n\n", uint8(9), true)
	f.Fuzz(func(t *testing.T, stream string, size uint8, isAnthropic bool) {
		fm := openaiForm
		if isAnthropic {
			fm = anthropicForm
		}
		whole, pieces := newMeter(fm), newMeter(fm)
		whole.Write([]byte(stream))
		for rest := stream; rest != ""; {
			n := min(int(size)+1, len(rest))
			pieces.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if len(stream) < maxLine && (whole.complete() != pieces.complete() || whole.usage != pieces.usage || whole.gap() != pieces.gap()) {
			t.Fatalf("%q: %+v, in pieces %+v", stream, whole, pieces)
		}
		whole.Write([]byte(whole.gap()))
		if whole.gap() != "" {
			t.Fatalf("%q: the gap leaves an event open", stream)
		}
	})
}
