package usage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"slices"
	"testing"
)

func crcOf(s string) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(s)))
}

var kinds = []Kind{Anthropic, Chat, Responses, Embeddings, Images, Audio, Realtime, Gemini, Converse, BedrockRaw, Cohere,
	WorkersAI, HuggingFace, Replicate, Ollama, Opaque}

// fuzzFraming checks that no answer harms a meter, and that how it is cut makes no
// difference to anything the meter knows.
func fuzzFraming(f *testing.F, framing Framing) {
	for i, k := range kinds {
		for _, tt := range fixtures {
			if b, fr := load(f, tt.file, tt.kind); fr == framing && tt.kind == k {
				f.Add(b, uint8(i), uint16(7*i))
			}
		}
	}
	for _, d := range deltas {
		f.Add([]byte(d.text), uint8(slices.Index(kinds, d.kind)), uint16(5))
	}
	f.Add([]byte("{\"usage\":{\"input_tokens\":1e99,\"a\":[[\"\\u12\n\n"), uint8(1), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, cut uint16) {
		k := kinds[int(kind)%len(kinds)]
		if cut%2 == 1 {
			b = bytes.Repeat(b, 3) // what was learned from an event is made use of in the next
		}
		whole := NewMeter(k, framing)
		whole.Write(b)
		seed := uint32(cut)
		cuts := pieces(k, framing, b, func() int {
			seed = seed*1664525 + 1013904223
			return int(seed>>16) % (1 + int(cut%97))
		})
		if whole.Usage() != cuts.Usage() || whole.Estimate(9) != cuts.Estimate(9) || whole.Complete() != cuts.Complete() || whole.Gap() != cuts.Gap() {
			t.Fatalf("%s %q: %+v, in pieces %+v", k, b, whole.Usage(), cuts.Usage())
		}
		if !reflect.DeepEqual(whole.tally, cuts.tally) {
			t.Fatalf("%s %q: %+v, in pieces %+v", k, b, whole.tally, cuts.tally)
		}
		checkSane(t, whole.Usage())
		checkSane(t, whole.Estimate(1<<40))
		whole.Write([]byte(whole.Gap()))
		if whole.Gap() != "" {
			t.Fatalf("%q: the gap leaves an event open", b)
		}
	})
}

func checkSane(t *testing.T, u Usage) {
	t.Helper()
	for _, n := range []int64{u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.AudioInput, u.Output, u.AudioOutput, u.Reasoning, u.Images, u.WebSearches, u.SearchUnits, u.Stated} {
		if n < 0 || n > 1<<60 {
			t.Fatalf("%+v", u)
		}
	}
	if u.ImageInput < 0 || u.ImageInput > u.Input || u.Reasoning > u.Output || !(u.Seconds >= 0 && u.Seconds <= maxSeconds) || u.Total() < 0 || u.Total() > 1<<40 {
		t.Fatalf("%+v", u)
	}
}

func FuzzJSON(f *testing.F)        { fuzzFraming(f, JSON) }
func FuzzSSE(f *testing.F)         { fuzzFraming(f, SSE) }
func FuzzNDJSON(f *testing.F)      { fuzzFraming(f, NDJSON) }
func FuzzEventStream(f *testing.F) { fuzzFraming(f, EventStream) }

func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"type":"response.done","response":{"usage":{"input_tokens":9,"output_tokens":2}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := NewMeter(Realtime, Unframed)
		m.Message(b)
		once := m.Usage()
		m.Message(b)
		checkSane(t, m.Usage())
		if got := m.Usage().Input; got != min(2*once.Input, maxCount) {
			t.Fatalf("%q: %d, twice %d", b, once.Input, got)
		}
	})
}
