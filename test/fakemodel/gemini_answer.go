package fakemodel

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

const geminiJSON = "application/json; charset=UTF-8"

// geminiSignature is what Gemini 3 gives with its function calls and wants back.
const geminiSignature = "ZmFrZS1zaWduYXR1cmU=" // "fake-signature"

func geminiStreamType(c *Call) string {
	if c.streamsEvents() {
		return "text/event-stream"
	}
	return geminiJSON
}

// rpcCodes are the names of google.rpc.Code by HTTP status.
var rpcCodes = map[int]string{
	http.StatusUnauthorized:        "UNAUTHENTICATED",
	http.StatusForbidden:           "PERMISSION_DENIED",
	http.StatusNotFound:            "NOT_FOUND",
	http.StatusConflict:            "ABORTED",
	http.StatusTooManyRequests:     "RESOURCE_EXHAUSTED",
	499:                            "CANCELLED",
	http.StatusInternalServerError: "INTERNAL",
	http.StatusNotImplemented:      "UNIMPLEMENTED",
	http.StatusServiceUnavailable:  "UNAVAILABLE",
	http.StatusGatewayTimeout:      "DEADLINE_EXCEEDED",
}

// geminiError is a google.rpc.Status. Where the answer would be a list, so is it.
func geminiError(c *Call, p *problem) []byte {
	code := rpcCodes[p.status]
	switch {
	case code != "":
	case p.status < 500:
		code = "INVALID_ARGUMENT"
	default:
		code = "UNKNOWN"
	}
	e := fields{"code": p.status, "message": p.message, "status": code}
	if len(p.details) > 0 {
		e["details"] = p.details
	}
	body := encode(fields{"error": e})
	if c.wantsStream() && !c.streamsEvents() {
		body = append(append([]byte{'['}, body...), ']')
	}
	return indented(body)
}

// retryInfo is how Google words a Retry-After of seconds.
func retryInfo(after string) []any {
	if n, err := strconv.Atoi(after); err != nil || n < 0 {
		return nil
	}
	return []any{fields{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": after + "s"}}
}

// indented is a document as the API prints it.
func indented(doc []byte) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, doc, "", "  "); err != nil {
		panic("fakemodel: indent: " + err.Error())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// spaced is a document as the API prints it in one line: a space behind colons.
func spaced(doc []byte) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, doc, "", ""); err != nil {
		panic("fakemodel: space: " + err.Error())
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("\n"), nil)
}

func (s *sender) geminiWhole() fields {
	part := fields{"text": s.reply.wholeText()}
	if s.reply.Tool != "" {
		part = s.geminiCall()
	}
	return s.geminiDoc(part, true)
}

func (s *sender) geminiCall() fields {
	call := fields{"name": s.reply.Tool, "args": s.input()}
	if !geminiModelOf(s.call.Model).new {
		return fields{"functionCall": call}
	}
	call["id"] = "fake"
	return fields{"functionCall": call, "thoughtSignature": geminiSignature}
}

// geminiDoc is a GenerateContentResponse of one part. What the answer cost is
// known with the last one; what the prompt did, with each.
func (s *sender) geminiDoc(part fields, last bool) fields {
	candidate := fields{"content": fields{"parts": []any{part}, "role": "model"}, "index": 0}
	u := s.reply.usage()
	usage := fields{"promptTokenCount": u.In, "totalTokenCount": u.In,
		"promptTokensDetails": []any{fields{"modality": "TEXT", "tokenCount": u.In}}}
	if u.CacheRead > 0 {
		usage["cachedContentTokenCount"] = u.CacheRead
		usage["cacheTokensDetails"] = []any{fields{"modality": "TEXT", "tokenCount": u.CacheRead}}
	}
	if last {
		candidate["finishReason"] = s.finish()
		usage["candidatesTokenCount"] = u.Out
		usage["totalTokenCount"] = u.In + u.Out + u.Thoughts
		if u.Thoughts > 0 {
			usage["thoughtsTokenCount"] = u.Thoughts
		}
	}
	return fields{"candidates": []any{candidate}, "usageMetadata": usage, "modelVersion": s.call.Model, "responseId": "fake"}
}

func (s *sender) finish() string {
	if s.reply.Finish != "" {
		return s.reply.Finish
	}
	return "STOP"
}

// geminiStream sends a document for each delta, and one that ends the answer:
// as events, or as the elements of a list.
func (s *sender) geminiStream(yield func([]byte) bool) {
	events := s.call.streamsEvents()
	before := "[" // of a list's next element
	send := func(part fields, last bool) bool {
		doc := encode(s.geminiDoc(part, last))
		if events {
			return yield([]byte("data: " + string(spaced(doc)) + "\r\n\r\n"))
		}
		p := append([]byte(before), indented(doc)...)
		before = ",\r\n"
		return yield(p)
	}
	if s.reply.Tool != "" {
		if !send(s.geminiCall(), false) {
			return
		}
	} else {
		for piece := range s.reply.pieces() {
			if !send(fields{"text": piece}, false) {
				return
			}
		}
	}
	if send(fields{"text": ""}, true) && !events {
		yield([]byte("]\n"))
	}
}
