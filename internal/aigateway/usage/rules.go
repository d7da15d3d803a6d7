package usage

// openaiUsage are the fields of a usage object of OpenAI, by both names that its
// APIs give them, and what others add who speak the same.
var openaiUsage = []rule{
	{path: "prompt_tokens", field: input},
	{path: "input_tokens", field: input},
	{path: "completion_tokens", field: output},
	{path: "output_tokens", field: output},
	{path: "total_tokens", field: total},
	{path: "prompt_tokens_details.cached_tokens", field: cacheRead},
	{path: "prompt_tokens_details.cache_write_tokens", field: cacheWrite}, // OpenRouter
	{path: "prompt_tokens_details.audio_tokens", field: audioIn},
	{path: "prompt_tokens_details.image_tokens", field: imageIn},
	{path: "input_tokens_details.cached_tokens", field: cacheRead},
	{path: "input_tokens_details.cache_write_tokens", field: cacheWrite},
	{path: "input_tokens_details.audio_tokens", field: audioIn},
	{path: "input_tokens_details.image_tokens", field: imageIn},
	{path: "completion_tokens_details.reasoning_tokens", field: reasoning},
	{path: "completion_tokens_details.audio_tokens", field: audioOut},
	{path: "output_tokens_details.reasoning_tokens", field: reasoning},
	{path: "output_tokens_details.audio_tokens", field: audioOut},
	// The realtime and transcription APIs write "token".
	{path: "input_token_details.cached_tokens", field: cacheRead},
	{path: "input_token_details.cached_tokens_details.audio_tokens", field: cachedAudio},
	{path: "input_token_details.audio_tokens", field: audioIn},
	{path: "input_token_details.image_tokens", field: imageIn},
	{path: "output_token_details.audio_tokens", field: audioOut},
	{path: "seconds", field: seconds},
	// https://api-docs.deepseek.com/guides/kv_cache
	{path: "prompt_cache_hit_tokens", field: cacheRead},
	{path: "prompt_cache_miss_tokens", field: cacheMiss},
	// Moonshot
	{path: "cached_tokens", field: cacheRead},
	// Mistral
	{path: "prompt_audio_seconds", field: seconds},
	// https://docs.perplexity.ai/api-reference/chat-completions-post
	{path: "citation_tokens", field: citations},
	{path: "num_search_queries", field: searches},
	{path: "reasoning_tokens", field: reasoning},
	{path: "cost.total_cost", field: cost},
	// https://openrouter.ai/docs/use-cases/usage-accounting
	{path: "cost", field: cost},
	{path: "cost_details.upstream_inference_cost", field: upstreamCost},
	{path: "is_byok", field: ownKey},
	// https://docs.x.ai/docs/api-reference
	{path: "cost_in_usd_ticks", field: costTicks},
	{path: "server_side_tool_usage_details.web_search_calls", field: searches},
}

// anthropicUsage are the fields of a usage object, but for output_tokens, which a
// stream first says as it begins and means nothing yet.
var anthropicUsage = []rule{
	{path: "input_tokens", field: input},
	{path: "cache_read_input_tokens", field: cacheRead},
	{path: "cache_creation_input_tokens", field: cacheWrite},
	{path: "cache_creation.ephemeral_5m_input_tokens", field: cache5m},
	{path: "cache_creation.ephemeral_1h_input_tokens", field: cache1h},
	{path: "output_tokens_details.thinking_tokens", field: reasoning},
	{path: "server_tool_use.web_search_requests", field: searches},
	{path: "service_tier", field: tier},
	{path: "iterations", act: iterations},
	{path: "iterations.type", field: itemType},
	{path: "iterations.input_tokens", field: itInput},
	{path: "iterations.output_tokens", field: itOutput},
	{path: "iterations.cache_read_input_tokens", field: itRead},
	{path: "iterations.cache_creation_input_tokens", field: itWrite},
	{path: "iterations.cache_creation.ephemeral_5m_input_tokens", field: it5m},
	{path: "iterations.cache_creation.ephemeral_1h_input_tokens", field: it1h},
}

// anthropicRules: https://docs.anthropic.com/en/api/messages and
// https://docs.anthropic.com/en/docs/build-with-claude/streaming
var anthropicRules = join(
	under("usage", anthropicUsage), under("message.usage", anthropicUsage),
	[]rule{
		{path: "type", field: docType},
		{path: "error", act: fails},
		{path: "model", field: model},
		{path: "message.model", field: model},
		{path: "usage.output_tokens", field: output},
		{path: "message.usage.output_tokens", field: startOutput},
	},
	texts("delta.text", "delta.thinking", "delta.partial_json", "content.text", "content.thinking"),
)

// openaiRules are what all of OpenAI's APIs have.
var openaiRules = join(under("usage", openaiUsage), []rule{
	{path: "model", field: model},
	{path: "service_tier", field: tier},
	{path: "error", act: fails, field: failure},
	{path: "type", field: docType},
})

// chatRules: https://platform.openai.com/docs/api-reference/chat
var chatRules = join(openaiRules,
	under("x_groq.usage", openaiUsage),  // https://console.groq.com/docs/text-chat
	under("choices.usage", openaiUsage), // Moonshot's streams
	texts("choices.delta.content", "choices.delta.reasoning_content", "choices.delta.reasoning",
		"choices.delta.refusal", "choices.delta.tool_calls.function.arguments", "choices.text",
		"choices.delta.content.text", "choices.message.content", "choices.message.reasoning_content",
		"choices.message.reasoning", "choices.message.tool_calls.function.arguments"),
)

// responsesRules: https://platform.openai.com/docs/api-reference/responses-streaming
var responsesRules = join(openaiRules, outputRules, under("response", outputRules),
	under("response.usage", openaiUsage),
	[]rule{
		{path: "response.model", field: model},
		{path: "response.service_tier", field: tier},
		{path: "item.type", field: itemType},
		{path: "item.action.type", field: actionType},
	},
	texts("delta", "output.content.text"),
)

var outputRules = []rule{
	{path: "output", act: outputItems},
	{path: "output.type", field: itemType},
	{path: "output.action.type", field: actionType},
}

// geminiRules: https://ai.google.dev/api/generate-content#UsageMetadata
var geminiRules = join(
	under("usageMetadata", []rule{
		{path: "promptTokenCount", field: input},
		{path: "cachedContentTokenCount", field: cacheRead},
		{path: "candidatesTokenCount", field: output},
		{path: "responseTokenCount", field: output}, // of the live API
		{path: "thoughtsTokenCount", field: reasoning},
		{path: "toolUsePromptTokenCount", field: toolInput},
		{path: "promptTokensDetails", act: promptModes},
		{path: "promptTokensDetails.modality", field: itemType},
		{path: "promptTokensDetails.tokenCount", field: itInput},
		{path: "cacheTokensDetails", act: cacheModes},
		{path: "cacheTokensDetails.modality", field: itemType},
		{path: "cacheTokensDetails.tokenCount", field: itInput},
		{path: "candidatesTokensDetails", act: answerModes},
		{path: "candidatesTokensDetails.modality", field: itemType},
		{path: "candidatesTokensDetails.tokenCount", field: itInput},
		{path: "serviceTier", field: tier},
	}),
	[]rule{
		{path: "modelVersion", field: model},
		{path: "candidates.finishReason", field: finish},
		{path: "candidates.groundingMetadata.webSearchQueries", field: query, act: queries},
		{path: "promptFeedback.blockReason", field: finish},
		{path: "error", act: fails},
	},
	texts("candidates.content.parts.text"),
)

// converseRules: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
var converseRules = join(
	under("usage", []rule{
		{path: "inputTokens", field: input},
		{path: "outputTokens", field: output},
		{path: "cacheReadInputTokens", field: cacheRead},
		{path: "cacheWriteInputTokens", field: cacheWrite},
		{path: "cacheDetails", act: cacheLives},
		{path: "cacheDetails.ttl", field: itemType},
		{path: "cacheDetails.inputTokens", field: itInput},
	}),
	[]rule{{path: "serviceTier.type", field: tier}},
	texts("delta.text", "delta.toolUse.input", "delta.reasoningContent.text", "output.message.content.text"),
)

// bedrockRules are for the forms of the models that Bedrock serves, Anthropic's
// first: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
var bedrockRules = join(anthropicRules, converseRules,
	under("usage", []rule{ // of models that answer in OpenAI's form
		{path: "prompt_tokens", field: input},
		{path: "completion_tokens", field: output},
	}),
	[]rule{
		{path: "amazon-bedrock-invocationMetrics", act: last},
		{path: "amazon-bedrock-invocationMetrics.inputTokenCount", field: metricIn},
		{path: "amazon-bedrock-invocationMetrics.outputTokenCount", field: metricOut},
		{path: "amazon-bedrock-invocationMetrics.cacheReadInputTokenCount", field: metricRead},
		{path: "amazon-bedrock-invocationMetrics.cacheWriteInputTokenCount", field: metricWrite},
		{path: "prompt_token_count", field: metricIn}, // Llama
		{path: "generation_token_count", field: metricOut},
		{path: "inputTextTokenCount", field: metricIn}, // Titan
		{path: "results.tokenCount", field: metricOut},
	},
	texts("generation", "outputText", "contentBlockDelta.delta.text", "choices.delta.content"),
)

// cohereRules: https://docs.cohere.com/v2/reference/chat-stream, embed, rerank
var cohereRules = join(
	under("usage", cohereUsage), under("delta.usage", cohereUsage), under("meta", cohereUsage),
	[]rule{{path: "type", field: docType}},
	texts("delta.message.content.text", "delta.message.content.thinking", "delta.message.tool_plan",
		"delta.message.tool_calls.function.arguments", "message.content.text"),
)

var cohereUsage = []rule{
	{path: "billed_units.input_tokens", field: input},
	{path: "billed_units.output_tokens", field: output},
	{path: "billed_units.search_units", field: searchUnits},
	{path: "tokens.input_tokens", field: metricIn},
	{path: "tokens.output_tokens", field: metricOut},
}

// trees say for each form of answers where it says what it consumed.
var trees = map[Kind]*node{
	Anthropic:  treeOf(anthropicRules),
	Chat:       treeOf(chatRules),
	Responses:  treeOf(responsesRules),
	Embeddings: treeOf(openaiRules),
	Images:     treeOf(openaiRules, []rule{{path: "data", act: pictures}}),
	// https://platform.openai.com/docs/api-reference/audio
	Audio: treeOf(openaiRules, []rule{{path: "duration", field: duration}}, texts("text", "delta")),
	// https://platform.openai.com/docs/api-reference/realtime-server-events/response/done
	Realtime: treeOf(under("response.usage", openaiUsage),
		[]rule{{path: "type", field: docType}, {path: "response.model", field: model}, {path: "session.model", field: model}}),
	Gemini:     treeOf(geminiRules),
	Converse:   treeOf(converseRules),
	BedrockRaw: treeOf(bedrockRules),
	Cohere:     treeOf(cohereRules),
	// https://developers.cloudflare.com/workers-ai/models/
	WorkersAI: treeOf(openaiRules, under("result.usage", openaiUsage), texts("response", "result.response")),
	// https://huggingface.github.io/text-generation-inference/
	HuggingFace: treeOf([]rule{
		{path: "details.generated_tokens", field: output},
		{path: "details.input_length", field: input},
		{path: "details.prefill", act: prefill},
		{path: "generated_text", field: finish},
		{path: "error", field: failure},
	}, texts("token.text")),
	// https://replicate.com/docs/reference/http#predictions.get
	Replicate: treeOf([]rule{
		{path: "model", field: model},
		{path: "metrics.predict_time", field: seconds},
		{path: "metrics.input_token_count", field: input},
		{path: "metrics.output_token_count", field: output},
	}, texts("output")),
	// https://github.com/ollama/ollama/blob/main/docs/api.md
	Ollama: treeOf([]rule{
		{path: "model", field: model},
		{path: "prompt_eval_count", field: input},
		{path: "prompt_eval_cached_count", field: cacheRead},
		{path: "eval_count", field: output},
		{path: "done", field: finish},
		{path: "error", field: failure},
	}, texts("response", "thinking", "message.content", "message.thinking")),
	Opaque: {},
}

func join(lists ...[]rule) []rule {
	var out []rule
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}
