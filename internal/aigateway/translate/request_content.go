package translate

import (
	"encoding/json"
	"fmt"
)

// readContent reads the content of a message as Anthropic and OpenAI have it: one
// text, or a list of parts that read knows.
func readContent[T any](content json.RawMessage, read func(*T) ([]turnPart, error)) ([]turnPart, error) {
	if !said(content) {
		return nil, nil
	}
	if content[0] == '"' {
		var text string
		if err := json.Unmarshal(content, &text); err != nil {
			return nil, err
		}
		return []turnPart{textPart(text)}, nil
	}
	var in []T
	if err := json.Unmarshal(content, &in); err != nil {
		return nil, err
	}
	var parts []turnPart
	for i := range in {
		more, err := read(&in[i])
		if err != nil {
			return nil, fmt.Errorf("content.%d: %w", i, err)
		}
		parts = append(parts, more...)
	}
	return parts, nil
}
