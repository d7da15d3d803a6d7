// Package translate owns what one model API has to say for another: requests,
// whole answers and event streams of Anthropic's Messages, OpenAI's Chat Completions
// and Google's generateContent, each turned into either of the others. It is for
// calls that fall back to a provider of another API; a call between equals is never
// translated.
//
// What has no counterpart is left out and named, so that the loss can be told.
//
// The package must not know where calls go, what they cost, or why one falls back.
package translate

// API is the form of a call.
type API string

// The forms that are translated.
const (
	Anthropic API = "anthropic" // Messages: POST /v1/messages
	Chat      API = "chat"      // OpenAI Chat Completions: POST /v1/chat/completions
	Gemini    API = "gemini"    // Google: POST .../models/MODEL:generateContent and :streamGenerateContent?alt=sse
)

// Losses are names of what was in a document and could not be carried over, such as
// "thinking_signature" or "audio", each once.
type Losses []string
