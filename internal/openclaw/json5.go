package openclaw

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/tailscale/hujson"
	"github.com/titanous/json5"
)

// parseJSON5 reads what OpenClaw allows beyond comments and trailing commas. The
// result has neither the comments nor the order of the original, so it is
// written back only when something must change.
func parseJSON5(data []byte) (hujson.Value, error) {
	var v any
	if err := json5.Unmarshal(data, &v); err != nil {
		var syntax *json5.SyntaxError
		if errors.As(err, &syntax) {
			return hujson.Value{}, errorAt(data, int(syntax.Offset)-1, err.Error())
		}
		return hujson.Value{}, &ConfigError{Problem: err.Error()}
	}
	if hasNonFinite(v) {
		return hujson.Value{}, &ConfigError{Problem: "Infinity and NaN are not supported"}
	}
	plain, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return hujson.Value{}, &ConfigError{Problem: err.Error()}
	}
	return hujson.Parse(append(plain, '\n'))
}

func hasNonFinite(v any) bool {
	switch v := v.(type) {
	case float64:
		return math.IsInf(v, 0) || math.IsNaN(v)
	case []any:
		return slices.ContainsFunc(v, hasNonFinite)
	case map[string]any:
		for _, e := range v {
			if hasNonFinite(e) {
				return true
			}
		}
	}
	return false
}

func errorAt(data []byte, offset int, problem string) *ConfigError {
	offset = min(max(offset, 0), len(data))
	before := data[:offset]
	return &ConfigError{
		Line:    1 + bytes.Count(before, []byte("\n")),
		Column:  offset - bytes.LastIndexByte(before, '\n'),
		Problem: problem,
	}
}

// tooDeep finds where brackets outside strings and comments nest beyond
// maxDepth.
func tooDeep(data []byte) (offset int, deep bool) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '{', '[':
			if depth++; depth > maxDepth {
				return i, true
			}
		case '}', ']':
			depth--
		case '"', '\'':
			i = skipString(data, i)
		case '/':
			i = skipComment(data, i)
		}
	}
	return 0, false
}

func skipString(data []byte, i int) int {
	quote := data[i]
	for i++; i < len(data) && data[i] != quote; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i
}

func skipComment(data []byte, i int) int {
	end, size := []byte("\n"), 1
	switch {
	case bytes.HasPrefix(data[i:], []byte("//")):
	case bytes.HasPrefix(data[i:], []byte("/*")):
		end, size = []byte("*/"), 2
	default:
		return i
	}
	n := bytes.Index(data[i+2:], end)
	if n < 0 {
		return len(data)
	}
	return i + 2 + n + size - 1
}
