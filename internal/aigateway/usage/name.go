package usage

// name is a word of the protocols that means something.
type name uint8

const (
	unnamed name = iota
	unknown
	errorEvent
	messageStop
	responseEnd
	imageDone
	audioDone
	messageEnd
	replicateDone
	outputEvent
	itemDone
	realtimeDone
	converseStop
	converseMetadata
	compaction
	advisorMessage
	audioMode
	imageMode
	hour
	webSearchCall
	search
)

func nameOf(b []byte) name {
	switch string(b) {
	case "error":
		return errorEvent
	case "message_stop": // Anthropic
		return messageStop
	case "response.completed", "response.failed", "response.incomplete": // OpenAI
		return responseEnd
	case "response.output_item.done":
		return itemDone
	case "response.done": // its realtime API
		return realtimeDone
	case "image_generation.completed", "image_edit.completed":
		return imageDone
	case "transcript.text.done", "speech.audio.done":
		return audioDone
	case "web_search_call":
		return webSearchCall
	case "search":
		return search
	case "message-end": // Cohere
		return messageEnd
	case "done": // Replicate
		return replicateDone
	case "output":
		return outputEvent
	case "messageStop": // Amazon
		return converseStop
	case "metadata":
		return converseMetadata
	case "1h":
		return hour
	case "compaction": // Anthropic
		return compaction
	case "advisor_message":
		return advisorMessage
	case "AUDIO": // Google
		return audioMode
	case "IMAGE":
		return imageMode
	}
	return unknown
}
