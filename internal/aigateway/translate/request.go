package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// defaultMaxOutput is the max_tokens of a request to Anthropic when neither the
// source nor the options say one: what the smallest of its models in service write.
const defaultMaxOutput = 8192

// RequestOptions are what a request's body does not say, or says for another model.
type RequestOptions struct {
	// Model is the name on the wire at the target. It stands in the body for
	// Anthropic and Chat; Gemini has it in the path. Members that a generation of
	// models is known to refuse are left out by it.
	Model string
	// Stream says that the client asked for a stream. Gemini has this in the path; in
	// the other forms the body says it too, and either counts.
	Stream bool
	// MaxOutput is Anthropic's max_tokens, in tokens, when the source says none;
	// 0: 8192.
	MaxOutput int64
}

// Request words a request of one API as another would have it. What was left out is
// named in lost. An error means that doc is no request of from's, or asks for
// something that it would not mean without (several answers, sound, a file that only
// the provider has): then the call cannot be made at the target.
func Request(doc []byte, from, to API, o RequestOptions) (out []byte, lost Losses, err error) {
	if from == to {
		return nil, nil, fmt.Errorf("translate a request: both sides speak %s", from)
	}
	if o.MaxOutput <= 0 {
		o.MaxOutput = defaultMaxOutput
	}
	c := &conversation{}
	if err := readRequest(c, doc, from); err != nil {
		return nil, nil, fmt.Errorf("read a request of the form %s: %w", from, err)
	}
	c.stream = c.stream || o.Stream
	if err := c.settle(); err != nil {
		return nil, nil, fmt.Errorf("read a request of the form %s: %w", from, err)
	}
	var body any
	switch to {
	case Anthropic:
		body, err = writeAnthropic(c, o)
	case Chat:
		body, err = writeChat(c, o)
	case Gemini:
		body, err = writeGemini(c, o)
	default:
		err = fmt.Errorf("the form %q is unknown", to)
	}
	if err == nil {
		out, err = requestJSON(body)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("word a request in the form %s: %w", to, err)
	}
	return out, c.lost.names, nil
}

func readRequest(c *conversation, doc []byte, from API) error {
	switch from {
	case Anthropic:
		return readAnthropic(c, doc)
	case Chat:
		return readChat(c, doc)
	case Gemini:
		return readGemini(c, doc)
	}
	return errors.New("the form is unknown")
}

// requestJSON writes v as it would be written by hand: <, > and & stay what they are.
func requestJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// said tells whether a member is there and not null.
func said(raw json.RawMessage) bool {
	return len(raw) > 0 && string(raw) != "null"
}

// isObject tells whether raw, which is valid JSON, is an object.
func isObject(raw []byte) bool {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	return len(raw) > 0 && raw[0] == '{'
}
