package provider

import "github.com/moltworker/moltworker/internal/aigateway/usage"

// The lists say all that may be called. What would be paid without being measured
// (batches, background work, fine-tuning), what hands out credentials (client
// secrets of realtime sessions) and what changes the account or the server (files,
// pulling models) is not in them.

// openaiLike are the paths that most compatible servers have.
var openaiLike = []spec{
	{m: post, in: "/chat/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/embeddings", kind: usage.Embeddings, is: paid | safe},
	{m: get, in: "/models", kind: usage.Opaque, is: safe},
	{m: get, in: "/models/{model}", kind: usage.Opaque, is: safe},
}

// responses of an agent may be appended to a conversation that the provider keeps,
// so they are not repeated.
var responses = []spec{
	{m: post, in: "/responses", kind: usage.Responses, is: paid},
	{m: post, in: "/responses/compact", kind: usage.Responses, is: paid | safe},
	{m: post, in: "/responses/input_tokens", kind: usage.Opaque, is: safe},
}

var images = []spec{
	{m: post, in: "/images/generations", kind: usage.Images, is: paid | safe},
	{m: post, in: "/images/edits", kind: usage.Images, is: paid | safe},
}

var audio = []spec{
	{m: post, in: "/audio/speech", kind: usage.Audio, is: paid | safe},
	{m: post, in: "/audio/transcriptions", kind: usage.Audio, is: paid | safe},
	{m: post, in: "/audio/translations", kind: usage.Audio, is: paid | safe},
}

var messages = []spec{
	{m: post, in: "/messages", kind: usage.Anthropic, is: paid | safe},
	{m: post, in: "/messages/count_tokens", kind: usage.Opaque, is: safe},
}

var (
	chatOnly   = compile(openaiLike)
	compatible = compile(openaiLike, responses, messages, images, audio)
	groqPaths  = compile(openaiLike, responses, audio)
	grokPaths  = compile(openaiLike, responses, messages, images, []spec{
		{m: get, in: "/language-models", kind: usage.Opaque, is: safe},
		{m: get, in: "/realtime", kind: usage.Realtime, chain: none, is: paid | socket},
	})
	openaiPaths = compile(openaiLike, responses, images, audio, []spec{
		{m: post, in: "/images/variations", kind: usage.Images, is: paid | safe},
		{m: post, in: "/moderations", kind: usage.Opaque, is: safe},
		// Cloudflare has realtime at the provider's own path (usage, websockets-api).
		{m: get, in: "/realtime", kind: usage.Realtime, chain: "/", is: paid | socket},
	})
	openrouterPaths = compile(openaiLike, responses, messages, []spec{
		{m: get, in: "/models/user", kind: usage.Opaque, is: safe},
		{m: get, in: "/models/{author}/{name}/endpoints", kind: usage.Opaque, is: safe},
	})
	mistralPaths = compile(openaiLike, []spec{
		{m: post, in: "/fim/completions", kind: usage.Chat, is: paid | safe},
		{m: post, in: "/moderations", kind: usage.Chat, is: paid | safe},
		{m: post, in: "/ocr", kind: usage.Opaque, is: paid | safe},
		{m: post, in: "/audio/transcriptions", kind: usage.Audio, is: paid | safe},
	})
	perplexityPaths = compile([]spec{
		{m: post, in: "/chat/completions", kind: usage.Chat, is: paid | safe},
		{m: post, in: "/search", kind: usage.Opaque, is: paid | safe},
		{m: post, in: "/responses", out: "/v1/responses", kind: usage.Responses, is: paid | safe},
		{m: post, in: "/embeddings", out: "/v1/embeddings", kind: usage.Embeddings, is: paid | safe},
	})
	deepseekPaths = compile(openaiLike, under("/anthropic/v1", messages), []spec{
		{m: post, in: "/beta/chat/completions", kind: usage.Chat, is: paid | safe},
		{m: post, in: "/beta/completions", kind: usage.Chat, is: paid | safe},
		{m: get, in: "/user/balance", kind: usage.Opaque, is: safe},
	})
	anthropicPaths = compile(under("/v1", messages), []spec{
		{m: post, in: "/v1/chat/completions", kind: usage.Chat, is: paid | safe},
		{m: get, in: "/v1/models", kind: usage.Opaque, is: safe},
		{m: get, in: "/v1/models/{model}", kind: usage.Opaque, is: safe},
	})
	coherePaths = compile([]spec{
		{m: post, in: "/v2/chat", kind: usage.Cohere, is: paid | safe},
		{m: post, in: "/v2/embed", kind: usage.Cohere, is: paid | safe},
		{m: post, in: "/v2/rerank", kind: usage.Cohere, is: paid | safe},
		{m: post, in: "/v1/chat", kind: usage.Opaque, is: paid | safe},
		{m: post, in: "/v1/embed", kind: usage.Opaque, is: paid | safe},
		{m: post, in: "/v1/rerank", kind: usage.Opaque, is: paid | safe},
		{m: post, in: "/v1/tokenize", kind: usage.Opaque, is: safe},
		{m: get, in: "/v1/models", kind: usage.Opaque, is: safe},
		{m: post, in: "/compatibility/v1/chat/completions", kind: usage.Chat, is: paid | safe},
		{m: post, in: "/compatibility/v1/embeddings", kind: usage.Embeddings, is: paid | safe},
	})
	ollamaPaths = compile(under("/v1", openaiLike), under("/v1", messages[:1]), under("/v1", responses[:1]), []spec{
		{m: post, in: "/api/chat", kind: usage.Ollama, is: paid | safe},
		{m: post, in: "/api/generate", kind: usage.Ollama, is: paid | safe},
		{m: post, in: "/api/embed", kind: usage.Ollama, is: paid | safe},
		{m: post, in: "/api/embeddings", kind: usage.Ollama, is: paid | safe},
		{m: post, in: "/api/show", kind: usage.Opaque, is: safe},
		{m: get, in: "/api/tags", kind: usage.Opaque, is: safe},
		{m: get, in: "/api/ps", kind: usage.Opaque, is: safe},
		{m: get, in: "/api/version", kind: usage.Opaque, is: safe},
	})
)

// Google's methods stand after a colon (ai.google.dev/api, cloud.google.com/vertex-ai
// reference of publishers.models).
var geminiPaths = compile([]spec{
	{m: post, in: "/{version}/models/{model}:generateContent", kind: usage.Gemini, is: paid | safe},
	{m: post, in: "/{version}/models/{model}:streamGenerateContent", kind: usage.Gemini, is: paid | safe},
	{m: post, in: "/{version}/models/{model}:countTokens", kind: usage.Opaque, is: safe},
	{m: post, in: "/{version}/models/{model}:embedContent", kind: usage.Gemini, is: paid | safe},
	{m: post, in: "/{version}/models/{model}:batchEmbedContents", kind: usage.Gemini, is: paid | safe},
	{m: post, in: "/{version}/models/{model}:predict", kind: usage.Opaque, is: paid | safe},
	{m: get, in: "/{version}/models", kind: usage.Opaque, is: safe},
	{m: get, in: "/{version}/models/{id}", kind: usage.Opaque, is: safe},
	{m: post, in: "/v1beta/openai/chat/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/v1beta/openai/embeddings", kind: usage.Embeddings, is: paid | safe},
	{m: post, in: "/v1beta/openai/images/generations", kind: usage.Images, is: paid | safe},
	{m: get, in: "/v1beta/openai/models", kind: usage.Opaque, is: safe},
})

var vertexPaths = compile(under("/{version}/projects/{project}/locations/{location}", []spec{
	{m: post, in: "/publishers/{publisher}/models/{model}:generateContent", kind: usage.Gemini, is: paid | safe},
	{m: post, in: "/publishers/{publisher}/models/{model}:streamGenerateContent", kind: usage.Gemini, is: paid | safe},
	{m: post, in: "/publishers/{publisher}/models/{model}:countTokens", kind: usage.Opaque, is: safe},
	{m: post, in: "/publishers/{publisher}/models/{model}:predict", kind: usage.Opaque, is: paid | safe},
	{m: post, in: "/publishers/anthropic/models/count-tokens:rawPredict", kind: usage.Opaque, is: safe},
	{m: post, in: "/publishers/anthropic/models/{model}:rawPredict", kind: usage.Anthropic, is: paid | safe},
	{m: post, in: "/publishers/anthropic/models/{model}:streamRawPredict", kind: usage.Anthropic, is: paid | safe},
	{m: post, in: "/publishers/mistralai/models/{model}:rawPredict", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/publishers/mistralai/models/{model}:streamRawPredict", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/publishers/{publisher}/models/{model}:rawPredict", kind: usage.Opaque, is: paid | safe},
	{m: post, in: "/publishers/{publisher}/models/{model}:streamRawPredict", kind: usage.Opaque, is: paid | safe},
	{m: post, in: "/endpoints/openapi/chat/completions", kind: usage.Chat, is: paid | safe},
}))

// bedrockPaths: the runtime's operations are those of the service model
// bedrock-runtime 2023-09-30; the compatible ones and the mantle endpoint are in the
// user guide (inference-chat-completions, inference-responses-api) and Cloudflare's
// page on Bedrock.
var bedrockPaths = compile(runtime([]spec{
	{m: post, in: "/model/{model}/converse", kind: usage.Converse, is: paid | safe},
	{m: post, in: "/model/{model}/converse-stream", kind: usage.Converse, is: paid | safe},
	{m: post, in: "/model/{model}/invoke", kind: usage.BedrockRaw, is: paid | safe},
	{m: post, in: "/model/{model}/invoke-with-response-stream", kind: usage.BedrockRaw, is: paid | safe},
	{m: post, in: "/model/{model}/count-tokens", kind: usage.Opaque, is: safe},
	{m: post, in: "/openai/v1/chat/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/openai/v1/responses", kind: usage.Responses, is: paid},
}), mantle([]spec{
	{m: post, in: "/anthropic/v1/messages", kind: usage.Anthropic, is: paid | safe},
	{m: post, in: "/v1/chat/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/v1/responses", kind: usage.Responses, is: paid},
	{m: post, in: "/openai/v1/chat/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/openai/v1/responses", kind: usage.Responses, is: paid},
	{m: get, in: "/v1/models", kind: usage.Opaque, is: safe},
}))

// azurePaths: a deployment is what the model is called there.
var azurePaths = compile(deployment([]spec{
	{m: post, in: "/chat/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/embeddings", kind: usage.Embeddings, is: paid | safe},
	{m: post, in: "/images/generations", kind: usage.Images, is: paid | safe},
	{m: post, in: "/images/edits", kind: usage.Images, is: paid | safe},
	{m: post, in: "/audio/speech", kind: usage.Audio, is: paid | safe},
	{m: post, in: "/audio/transcriptions", kind: usage.Audio, is: paid | safe},
	{m: post, in: "/audio/translations", kind: usage.Audio, is: paid | safe},
}))

var workersPaths = compile([]spec{
	{m: post, in: "/{cf}/{author}/{name}", out: "/run/{cf}/{author}/{name}", chain: "/{cf}/{author}/{name}", kind: usage.WorkersAI, is: paid | safe},
	{m: post, in: "/run/{cf}/{author}/{name}", chain: "/{cf}/{author}/{name}", kind: usage.WorkersAI, is: paid | safe},
	{m: post, in: "/v1/chat/completions", kind: usage.Chat, is: paid | safe},
	{m: post, in: "/v1/embeddings", kind: usage.Embeddings, is: paid | safe},
	{m: post, in: "/v1/responses", chain: none, kind: usage.Responses, is: paid},
})

var huggingFacePaths = compile([]spec{
	{m: post, in: "/{name}", out: "/hf-inference/models/{name}", chain: "/{name}", kind: usage.HuggingFace, is: paid | safe},
	{m: post, in: "/{author}/{name}", out: "/hf-inference/models/{author}/{name}", chain: "/{author}/{name}", kind: usage.HuggingFace, is: paid | safe},
	{m: post, in: "/hf-inference/models/{author}/{name}", chain: "/{author}/{name}", kind: usage.HuggingFace, is: paid | safe},
	{m: post, in: "/hf-inference/models/{author}/{name}/pipeline/{task}", chain: none, kind: usage.HuggingFace, is: paid | safe},
	{m: post, in: "/v1/chat/completions", chain: none, kind: usage.Chat, is: paid | safe},
	{m: get, in: "/v1/models", chain: none, kind: usage.Opaque, is: safe},
})

// replicatePaths: making a prediction twice is two predictions. Asking after one is
// where its cost is told, but not what costs.
var replicatePaths = compile([]spec{
	{m: post, in: "/predictions", kind: usage.Replicate, is: paid},
	{m: get, in: "/predictions/{id}", kind: usage.Replicate, is: safe},
	{m: post, in: "/predictions/{id}/cancel", kind: usage.Replicate, is: safe},
	{m: post, in: "/models/{author}/{name}/predictions", kind: usage.Replicate, is: paid},
	{m: post, in: "/deployments/{author}/{name}/predictions", kind: usage.Replicate, is: paid},
	{m: get, in: "/models/{author}/{name}", kind: usage.Opaque, is: safe},
})

func runtime(specs []spec) []spec { return bedrock("/bedrock-runtime/{region}", specs) }
func mantle(specs []spec) []spec  { return bedrock("/bedrock-mantle/{region}", specs) }

// bedrock puts Cloudflare's prefix before paths, which the real host does not have.
func bedrock(prefix string, specs []spec) []spec {
	var all []spec
	for _, s := range specs {
		s.in, s.out, s.chain = prefix+s.in, s.in, prefix+s.in
		all = append(all, s)
	}
	return all
}

// deployment puts Cloudflare's form of Azure's paths before the operation, and
// Azure's own in what is sent there.
func deployment(specs []spec) []spec {
	var all []spec
	for _, s := range specs {
		op := s.in
		s.in, s.chain = "/{resource}/{deployment}"+op, "/{resource}/{deployment}"+op
		s.out = "/openai/deployments/{deployment}" + op
		all = append(all, s)
	}
	return all
}

// under puts the same prefix before paths in all their forms.
func under(prefix string, specs []spec) []spec {
	var all []spec
	for _, s := range specs {
		s.in = prefix + s.in
		all = append(all, s)
	}
	return all
}
