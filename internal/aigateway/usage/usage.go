// Package usage owns what model APIs say that an answer consumed: how each of them
// counts, and where it says so, in whole answers and in streams. It reads copies of
// the bytes that pass and never changes or delays one.
//
// It must not know prices, agents, or how calls are forwarded.
package usage

// Usage is what one answer consumed. Token counts are disjoint unless said
// otherwise, however the API nests them: their sum is what was moved.
type Usage struct {
	Input        int64 // text (and image) tokens read, neither from a cache nor written to one
	CacheRead    int64 // tokens read from the provider's prompt cache
	CacheWrite5m int64 // tokens written to it for five minutes, or for a time that is not said
	CacheWrite1h int64 // tokens written to it for an hour
	AudioInput   int64 // audio tokens read, not from a cache
	ImageInput   int64 // of Input: tokens of images, where the API tells them apart
	Output       int64 // text tokens written, thinking included
	AudioOutput  int64 // audio tokens written
	Reasoning    int64 // of Output: thinking that is not shown as text

	Images      int64   // images made
	WebSearches int64   // searches of the web that the provider made
	SearchUnits int64   // units of a reranker, as Cohere bills them
	Seconds     float64 // of audio or computing, where that is what is paid

	// Stated is what the API itself says that the answer cost, in millionths of a
	// millionth of a dollar; 0 where it says nothing, or nothing of use.
	Stated int64

	Model string // that answered, as the API names it; "" where it does not say
	Tier  string // of service: "standard", "batch", "priority", "flex"; "" where it does not say
	Known bool   // the API said how much; otherwise nothing above counts, or Estimated is set
	// Estimated marks counts that are worked out from the bytes that passed, because
	// the answer broke off, or its API says nothing.
	Estimated bool
}

// Prompt is all tokens that were read, from wherever.
func (u Usage) Prompt() int64 {
	return u.Input + u.CacheRead + u.CacheWrite5m + u.CacheWrite1h + u.AudioInput
}

// Total is all tokens that were moved.
func (u Usage) Total() int64 { return u.Prompt() + u.Output + u.AudioOutput }

// Kind is the form of an API's answers.
type Kind string

// The forms whose usage is understood.
const (
	Anthropic   Kind = "anthropic"    // Messages API
	Chat        Kind = "chat"         // OpenAI Chat Completions, and the many that speak it
	Responses   Kind = "responses"    // OpenAI Responses API
	Embeddings  Kind = "embeddings"   // OpenAI embeddings
	Images      Kind = "images"       // OpenAI images
	Audio       Kind = "audio"        // OpenAI transcription, translation and speech
	Realtime    Kind = "realtime"     // OpenAI realtime events over a WebSocket
	Gemini      Kind = "gemini"       // Google generateContent and streamGenerateContent
	Converse    Kind = "converse"     // Amazon Bedrock Converse and ConverseStream
	BedrockRaw  Kind = "bedrock"      // Amazon Bedrock InvokeModel, whatever the model's own form is
	Cohere      Kind = "cohere"       // Cohere v2 chat, embed and rerank
	WorkersAI   Kind = "workers-ai"   // Cloudflare Workers AI native run
	HuggingFace Kind = "hugging-face" // text generation inference
	Replicate   Kind = "replicate"    // predictions
	Ollama      Kind = "ollama"       // native chat and generate
	Opaque      Kind = "opaque"       // nothing is known of it
)
