package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// hidden stands wherever a Value would be shown.
const hidden = "[secret]"

// Value is a secret on its way through the program. Every usual way to print,
// log or encode it shows "[secret]"; only [Value.Reveal] gives the text away.
// The zero Value is unset.
type Value struct {
	// A pointer, so that even printing a struct that holds a Value in an
	// unexported field, where fmt cannot call methods, shows an address only.
	text *string
}

// NewValue wraps text. An empty text gives the unset Value.
func NewValue(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{text: &text}
}

// Reveal returns the secret text, or "" when unset. Call it where the text is
// needed, never to store it elsewhere.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// IsSet says whether there is a secret.
func (v Value) IsSet() bool { return v.text != nil }

// String hides the secret; it is "" when there is none.
func (v Value) String() string {
	if v.text == nil {
		return ""
	}
	return hidden
}

// GoString hides the secret.
func (v Value) GoString() string { return `secret.Value("` + v.String() + `")` }

// Format hides the secret from every verb of package fmt.
func (v Value) Format(s fmt.State, verb rune) {
	text := v.String()
	if verb == 'v' && s.Flag('#') {
		text = v.GoString()
	}
	io.WriteString(s, text)
}

// LogValue hides the secret from log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }

// MarshalText hides the secret from encoders of text.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalJSON hides the secret from encoding/json.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + v.String() + `"`), nil }
