package translate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// geminiAnswers reads what Google's generateContent and streamGenerateContent answer:
// https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse. Each
// event of a stream is such a document; the stream ends with the connection, behind a
// finish reason.
type geminiAnswers struct {
	*answerReader
	stop stopReason
}

type geminiAnswer struct {
	ResponseID looseString             `json:"responseId"`
	Candidates []geminiAnswerCandidate `json:"candidates"`
	Feedback   struct {
		BlockReason looseString `json:"blockReason"`
	} `json:"promptFeedback"`
	Error json.RawMessage `json:"error"`
}

type geminiAnswerCandidate struct {
	Index   int `json:"index"`
	Content struct {
		Parts []geminiAnswerPart `json:"parts"`
	} `json:"content"`
	FinishReason  looseString     `json:"finishReason"`
	FinishMessage looseString     `json:"finishMessage"`
	Citations     json.RawMessage `json:"citationMetadata"`
	Grounding     json.RawMessage `json:"groundingMetadata"`
	Logprobs      json.RawMessage `json:"logprobsResult"`
}

type geminiAnswerPart struct {
	Text         json.RawMessage   `json:"text"`
	Thought      json.RawMessage   `json:"thought"`
	Signature    json.RawMessage   `json:"thoughtSignature"`
	FunctionCall *geminiAnswerCall `json:"functionCall"`
	InlineData   *struct {
		MimeType looseString `json:"mimeType"`
	} `json:"inlineData"`
	FileData      json.RawMessage `json:"fileData"`
	Code          json.RawMessage `json:"executableCode"`
	CodeResult    json.RawMessage `json:"codeExecutionResult"`
	ServerCall    json.RawMessage `json:"toolCall"`
	ServerResult  json.RawMessage `json:"toolResponse"`
	Transcription json.RawMessage `json:"audioTranscription"`
}

type geminiAnswerCall struct {
	ID   looseString     `json:"id"`
	Name looseString     `json:"name"`
	Args json.RawMessage `json:"args"`
	// PartialArgs are of Vertex AI, and come only where a request asks for them.
	PartialArgs json.RawMessage `json:"partialArgs"`
}

func (g *geminiAnswers) whole(doc []byte) error {
	if err := g.event(doc); err != nil {
		return err
	}
	if !g.begun {
		return errors.New("a document without candidates is not an answer")
	}
	return g.close()
}

func (g *geminiAnswers) event(data []byte) error {
	if string(data) == "[DONE]" {
		return nil // of proxies that took it over from OpenAI; it says nothing here
	}
	var a geminiAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return err
	}
	if present(a.Error) {
		return newStreamError(data, Gemini)
	}
	if len(a.Candidates) > 0 || a.ResponseID != "" || a.Feedback.BlockReason != "" {
		if err := g.begin(string(a.ResponseID)); err != nil {
			return err
		}
	}
	if a.Feedback.BlockReason != "" {
		g.stop = stopRefusal // of the prompt; there is no answer then
	}
	for i := range a.Candidates {
		if err := g.candidate(&a.Candidates[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *geminiAnswers) close() error {
	if g.stop == stopUnknown {
		return errBrokeOff
	}
	return g.end(g.stop, nil)
}

func (g *geminiAnswers) candidate(c *geminiAnswerCandidate) error {
	if c.Index != 0 {
		g.lost.add("choices")
		return nil
	}
	g.lost.addIf("citations", c.Citations)
	g.lost.addIf("citations", c.Grounding)
	g.lost.addIf("logprobs", c.Logprobs)
	for i := range c.Content.Parts {
		if err := g.part(&c.Content.Parts[i]); err != nil {
			return err
		}
	}
	return g.stopped(c)
}

func (g *geminiAnswers) part(p *geminiAnswerPart) error {
	g.lost.addIf("thinking_signature", p.Signature)
	switch {
	case p.FunctionCall != nil:
		return g.function(p.FunctionCall)
	case string(p.Thought) == "true":
		return g.pass(g.sink.think, p.Text)
	case len(p.Text) > 0:
		return g.pass(g.sink.text, p.Text)
	case p.InlineData != nil && strings.HasPrefix(string(p.InlineData.MimeType), "audio/"), present(p.Transcription):
		g.lost.add("audio")
	case p.InlineData != nil && strings.HasPrefix(string(p.InlineData.MimeType), "image/"):
		g.lost.add("images")
	case p.InlineData != nil, present(p.FileData):
		g.lost.add("files")
	case present(p.Code), present(p.CodeResult), present(p.ServerCall), present(p.ServerResult):
		g.lost.add("server_tools")
	case !present(p.Signature):
		g.lost.add("unknown_content")
	}
	return nil
}

func (g *geminiAnswers) function(f *geminiAnswerCall) error {
	if present(f.PartialArgs) {
		return errors.New("a function call comes in pieces, which was not asked for")
	}
	text, err := objectText(f.Args)
	if err != nil {
		return err
	}
	n, err := g.call(string(f.ID), string(f.Name))
	if err != nil {
		return err
	}
	if err := g.sink.arguments(n, quoted(text)); err != nil {
		return err
	}
	return g.sink.endCall(n)
}

// stopped notes why the answer ends. Older models say STOP with every event; the
// last word counts.
func (g *geminiAnswers) stopped(c *geminiAnswerCandidate) error {
	switch c.FinishReason {
	case "", "FINISH_REASON_UNSPECIFIED":
	case "STOP":
		g.stop = stopEnd
	case "MAX_TOKENS":
		g.stop = stopLength
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		g.stop = stopRefusal
	case "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE":
		// The model meant a call that nobody can make. No other API has that.
		e := &StreamError{Status: 502, Type: string(c.FinishReason), Message: string(c.FinishMessage)}
		if e.Message == "" {
			e.Message = fmt.Sprintf("The model's answer was broken off (%s).", c.FinishReason)
		}
		return e
	default: // "OTHER", "NO_IMAGE", and what is yet to come
		g.stop = stopEnd
		g.lost.add("stop_reason")
	}
	return nil
}
