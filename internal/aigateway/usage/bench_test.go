package usage

import (
	"strings"
	"testing"
)

var deltas = []struct {
	name string
	kind Kind
	text string
}{
	{"anthropic", Anthropic, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" wonderful\"}}\n\n"},
	{"chat", Chat, `data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" wonderful"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aZ81kd"}` + "\n\n"},
	{"responses", Responses, "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_67c9fdcf37fc8190ba82116e33fb28c501b8b0ad29eb46aa\",\"output_index\":0,\"content_index\":0,\"delta\":\" wonderful\",\"sequence_number\":7}\n\n"},
}

// One event of a stream that says nothing of use.
func BenchmarkDelta(b *testing.B) {
	for _, d := range deltas {
		b.Run(d.name, func(b *testing.B) {
			m, p := NewMeter(d.kind, SSE), []byte(d.text)
			m.Write(p)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				m.Write(p)
			}
		})
	}
}

func BenchmarkPicture(b *testing.B) {
	p := []byte(`{"data":[{"b64_json":"` + strings.Repeat("iVBORw0KGgo+/", 1<<20/13) + `"}]}`)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		NewMeter(Images, JSON).Write(p)
	}
}

func TestDeltasAllocateNothing(t *testing.T) {
	for _, d := range deltas {
		m, p := NewMeter(d.kind, SSE), []byte(d.text)
		m.Write(p)
		if n := testing.AllocsPerRun(100, func() { m.Write(p) }); n != 0 {
			t.Errorf("%s: %v allocations", d.name, n)
		}
	}
}
