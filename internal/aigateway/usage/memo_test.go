package usage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// Events whose envelopes are nearly alike, in any order: a meter that gets whole
// lines, and makes use of what it learned, knows the same as one that gets bytes.
func TestWhatIsLearnedChangesNothing(t *testing.T) {
	text := func(s string) string { return fmt.Sprintf(`{"delta":{"text":"%s"}}`, s) }
	forms := []func(r *rand.Rand) string{
		func(r *rand.Rand) string { return text(strings.Repeat("x", r.IntN(60))) },
		func(r *rand.Rand) string { return text(`say \"so\" \u4e2d` + strings.Repeat("\\n", r.IntN(3))) },
		func(r *rand.Rand) string {
			return `{"delta":{"text":"x","thinking":"` + strings.Repeat("y", r.IntN(9)) + `"}}`
		},
		func(r *rand.Rand) string {
			return fmt.Sprintf(`{"delta":{"text":"x"},"usage":{"output_tokens":%d}}`, r.IntN(9))
		},
		func(r *rand.Rand) string { return `{"delta":{"text":"x"},"usage":{"output_tokens":5}}` },
		func(r *rand.Rand) string {
			return fmt.Sprintf(`{"usage":{"output_tokens":%d},"delta":{"text":"x"}}`, r.IntN(3))
		},
		func(r *rand.Rand) string { return fmt.Sprintf(`{"model":"m%d","delta":{"text":"x"}}`, r.IntN(3)) },
		func(r *rand.Rand) string { return fmt.Sprintf(`{"delta":{"text":"x"},"model":"m%d"}`, r.IntN(3)) },
		func(r *rand.Rand) string { return `{"delta":{"text":"x"},"type":"message_stop"}` },
		func(r *rand.Rand) string { return `{"type":"message_stop","delta":{"text":"x"}}` },
		func(r *rand.Rand) string { return `{"delta":{"text":"x"}}` + strings.Repeat(" ", r.IntN(4)) },
		func(r *rand.Rand) string { return `{"delta":{"text":"x` },
		func(r *rand.Rand) string { return `{"delta":{"text":"x"}` },
		func(r *rand.Rand) string { return `{"delta":{"text":"x"}]` },
		func(r *rand.Rand) string {
			return `{"type":"content_block_delta","delta":{"text":"` + strings.Repeat("é", r.IntN(700)) + `"}}`
		},
		func(r *rand.Rand) string { return `{"x":"` + strings.Repeat("x", 500) + `","delta":{"text":"x"}}` },
		func(r *rand.Rand) string { return `{"delta":{"text":"x"},"x":"` + strings.Repeat("x", 300) + `"}` },
	}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var b strings.Builder
		a, c := r.IntN(len(forms)), r.IntN(len(forms))
		for range 2 + r.IntN(30) {
			if r.IntN(5) == 0 {
				b.WriteString([]string{"event: ping\n", "event: message_stop\n", ": x\n", "\r\n", "id: 5\n"}[r.IntN(5)])
			}
			form := forms[[]int{a, a, a, c, r.IntN(len(forms))}[r.IntN(5)]]
			b.WriteString("data: " + form(r) + []string{"\n\n", "\n\n", "\n\n", "\r\n\r\n", "\n"}[r.IntN(5)])
		}
		stream := []byte(b.String())
		whole := pieces(Anthropic, SSE, stream, func() int { return len(stream) })
		bytewise := pieces(Anthropic, SSE, stream, func() int { return 1 })
		if whole.tally != bytewise.tally || whole.ended != bytewise.ended || whole.final != bytewise.final || whole.Gap() != bytewise.Gap() {
			t.Fatalf("%s\n%+v\nby bytes\n%+v", stream, whole.tally, bytewise.tally)
		}
	}
}

// Most events of a stream are not read but recognised; without that the benchmark
// would measure something else.
func TestEnvelopesAreRecognised(t *testing.T) {
	for _, d := range deltas {
		m := NewMeter(d.kind, SSE)
		for range 3 {
			m.Write([]byte(d.text))
		}
		if m.memo.prefix == 0 || m.memo.suffix == 0 || m.memo.missed != 0 {
			t.Errorf("%s: %d, %d, %d", d.name, m.memo.prefix, m.memo.suffix, m.memo.missed)
		}
		if want := int64(3 * len(" wonderful")); m.text != want {
			t.Errorf("%s: %d bytes of text", d.name, m.text)
		}
	}
}
