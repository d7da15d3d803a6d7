package guardrail

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// chatStream is a stream of n Chat deltas of about five letters each, with nothing in
// it to find.
func chatStream(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `data: {"id":"chatcmpl-AbC123dEf456","object":"chat.completion.chunk","created":1700000000,"model":"gpt-5-mini","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" word%d"},"logprobs":null,"finish_reason":null}],"usage":null}`+"\n\n", i%10)
	}
	return []byte(b.String() + "data: [DONE]\n\n")
}

func BenchmarkStream(b *testing.B) {
	body := chatStream(1000)
	events := bytes.SplitAfter(body, []byte("\n\n"))
	for name, action := range map[string]Action{"flag": Flag, "block": Block} {
		p := DefaultPolicy()
		p.Rules = append(p.Rules, Rule{Secrets, Response, action})
		r := compile(b, p)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				st := r.Stream(Subject{})
				for _, e := range events {
					_, _ = st.Write(e)
				}
				if rep := st.Report(); rep.Total > 0 {
					b.Fatalf("%+v", rep)
				}
			}
		})
	}
}
