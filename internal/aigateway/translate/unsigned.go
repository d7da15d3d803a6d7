package translate

import (
	"bytes"
	"encoding/json"
)

// unsignedMark is in every request of Anthropic's API that has thinking in it which
// this package made: see [Signed].
var unsignedMark = []byte(`"signature":""`)

// Signed takes thinking without a signature out of a request of Anthropic's Messages
// API, for its own servers refuse it. Such blocks come from answers of other models,
// which a client sends back with its next turn: they have an empty signature. All
// else stays as it is, byte for byte; doc itself is returned where there are none, or
// where it cannot be understood.
func Signed(doc []byte) []byte {
	if !bytes.Contains(doc, unsignedMark) {
		return doc
	}
	var request struct {
		Messages []struct {
			Role    string
			Content json.RawMessage
		}
	}
	if json.Unmarshal(doc, &request) != nil {
		return doc
	}
	out := doc
	for _, m := range request.Messages {
		if m.Role != "assistant" || len(m.Content) == 0 || m.Content[0] != '[' {
			continue
		}
		if content, changed := signedBlocks(m.Content); changed {
			out = bytes.Replace(out, m.Content, content, 1)
		}
	}
	return out
}

// signedBlocks leaves out the blocks of a message that are thinking without a
// signature. A message of nothing else keeps a text that is as good as nothing, as an
// empty one is refused.
func signedBlocks(content json.RawMessage) (json.RawMessage, bool) {
	var blocks []json.RawMessage
	if json.Unmarshal(content, &blocks) != nil {
		return content, false
	}
	var kept []json.RawMessage
	for _, b := range blocks {
		var block struct {
			Type      string
			Signature *string
		}
		if json.Unmarshal(b, &block) == nil && block.Type == "thinking" && block.Signature != nil && *block.Signature == "" {
			continue
		}
		kept = append(kept, b)
	}
	if len(kept) == len(blocks) {
		return content, false
	}
	if len(kept) == 0 {
		kept = []json.RawMessage{[]byte(`{"type":"text","text":"..."}`)}
	}
	return append(append([]byte{'['}, bytes.Join(rawParts(kept), []byte{','})...), ']'), true
}

func rawParts(all []json.RawMessage) [][]byte {
	parts := make([][]byte, len(all))
	for i := range all {
		parts[i] = all[i]
	}
	return parts
}
