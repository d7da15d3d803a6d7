package fakemodel

import "strings"

// What a request may say: the messages behind generateContent, as
// https://ai.google.dev/api/generate-content and https://ai.google.dev/api/caching
// have them. Their names, without "gemini", are the protocol buffers' own.

type geminiGenerateContentRequest struct {
	Model             string
	Contents          []geminiContent
	SystemInstruction *geminiContent
	Tools             []geminiTool
	ToolConfig        *geminiToolConfig
	SafetySettings    []geminiSafetySetting
	GenerationConfig  geminiGenerationConfig
	CachedContent     string
	ServiceTier       string `enum:"ServiceTier"`
	Store             *bool
}

type geminiContent struct {
	Role  string
	Parts []geminiPart
}

type geminiPart struct {
	Text                *string                    `oneof:"data"`
	InlineData          *geminiBlob                `oneof:"data"`
	FileData            *geminiFileData            `oneof:"data"`
	FunctionCall        *geminiFunctionCall        `oneof:"data"`
	FunctionResponse    *geminiFunctionResponse    `oneof:"data"`
	ExecutableCode      *geminiExecutableCode      `oneof:"data"`
	CodeExecutionResult *geminiCodeExecutionResult `oneof:"data"`
	ToolCall            *geminiToolCall            `oneof:"data"`
	ToolResponse        *geminiToolResponse        `oneof:"data"`

	Thought          bool
	ThoughtSignature []byte
	VideoMetadata    *struct {
		StartOffset, EndOffset string
		FPS                    float64 `json:"fps"`
	}
	MediaResolution *struct {
		Level string `enum:"PartMediaResolution"`
	}
	PartMetadata jsonObject
}

type geminiBlob struct {
	MimeType string
	Data     []byte
}

type geminiFileData struct {
	MimeType string
	FileURI  string `json:"fileUri"`
}

type geminiFunctionCall struct {
	ID   string `json:"id"`
	Name string
	Args jsonObject
}

type geminiFunctionResponse struct {
	ID           string `json:"id"`
	Name         string
	Response     jsonObject
	Parts        []geminiFunctionResponsePart
	WillContinue bool
	Scheduling   string `enum:"Scheduling"`
}

type geminiFunctionResponsePart struct{ InlineData *geminiBlob }

type geminiExecutableCode struct {
	ID       string `json:"id"`
	Language string `enum:"Language"`
	Code     string
}

type geminiCodeExecutionResult struct {
	ID      string `json:"id"`
	Outcome string `enum:"Outcome"`
	Output  string
}

type geminiToolCall struct {
	ID       string `json:"id"`
	ToolType string
	Args     jsonObject
}

type geminiToolResponse struct {
	ID       string `json:"id"`
	ToolType string
	Response jsonObject
}

type geminiTool struct {
	FunctionDeclarations  []geminiFunctionDeclaration
	GoogleSearch          *jsonObject
	GoogleSearchRetrieval *jsonObject
	CodeExecution         *struct{}
	URLContext            *struct{} `json:"urlContext"`
	GoogleMaps            *jsonObject
	FileSearch            *jsonObject
	ComputerUse           *jsonObject
	MCPServers            []jsonObject `json:"mcpServers"`
}

type geminiFunctionDeclaration struct {
	Name                 string
	Description          string
	Behavior             string `enum:"Behavior"`
	Parameters           *geminiSchema
	ParametersJSONSchema *jsonValue `json:"parametersJsonSchema"`
	Response             *geminiSchema
	ResponseJSONSchema   *jsonValue `json:"responseJsonSchema"`
}

// geminiSchema is the part of OpenAPI 3.0's that the API knows.
type geminiSchema struct {
	Type                         string `enum:"Type"`
	Format, Title, Description   string
	Nullable                     bool
	Enum                         []string
	Items                        *geminiSchema
	MinItems, MaxItems           int64
	Properties                   map[string]*geminiSchema
	Required, PropertyOrdering   []string
	MinProperties, MaxProperties int64
	MinLength, MaxLength         int64
	Pattern                      string
	Minimum, Maximum             *float64
	AnyOf                        []geminiSchema
	Default, Example             jsonValue
}

type geminiToolConfig struct {
	FunctionCallingConfig *struct {
		Mode                 string `enum:"Mode"`
		AllowedFunctionNames []string
	}
	RetrievalConfig *struct {
		LatLng       *struct{ Latitude, Longitude float64 }
		LanguageCode string
	}
	IncludeServerSideToolInvocations bool
}

type geminiSafetySetting struct {
	Category  string `enum:"HarmCategory"`
	Threshold string `enum:"HarmBlockThreshold"`
}

type geminiGenerationConfig struct {
	StopSequences                     []string
	ResponseMimeType                  string
	ResponseSchema                    *geminiSchema
	ResponseJSONSchema                *jsonValue `json:"responseJsonSchema"`
	ResponseModalities                []string   `enum:"Modality"`
	CandidateCount, MaxOutputTokens   *int32
	Temperature, TopP                 *float64
	TopK, Seed, Logprobs              *int32
	PresencePenalty, FrequencyPenalty *float64
	ResponseLogprobs                  bool
	EnableEnhancedCivicAnswers        bool
	SpeechConfig                      *geminiSpeechConfig
	ThinkingConfig                    *geminiThinkingConfig
	ImageConfig                       *struct{ AspectRatio, ImageSize string }
	MediaResolution                   string `enum:"MediaResolution"`
}

type geminiThinkingConfig struct {
	IncludeThoughts bool
	ThinkingBudget  *int32
	ThinkingLevel   string `enum:"ThinkingLevel"`
}

type geminiVoiceConfig struct {
	PrebuiltVoiceConfig *struct{ VoiceName string }
}

type geminiSpeechConfig struct {
	VoiceConfig             *geminiVoiceConfig
	LanguageCode            string
	MultiSpeakerVoiceConfig *struct {
		SpeakerVoiceConfigs []struct {
			Speaker     string
			VoiceConfig *geminiVoiceConfig
		}
	}
}

// enums are the names of enumerations; in requests their case does not matter.
var enums = map[string]map[string]bool{
	"Behavior":    oneOf(`UNSPECIFIED BLOCKING NON_BLOCKING`),
	"Language":    oneOf(`PYTHON`),
	"Mode":        oneOf(`MODE_UNSPECIFIED AUTO ANY NONE VALIDATED`),
	"Modality":    oneOf(`TEXT IMAGE AUDIO VIDEO`),
	"Outcome":     oneOf(`OUTCOME_OK OUTCOME_FAILED OUTCOME_DEADLINE_EXCEEDED`),
	"Scheduling":  oneOf(`SCHEDULING_UNSPECIFIED SILENT WHEN_IDLE INTERRUPT`),
	"ServiceTier": oneOf(`UNSPECIFIED STANDARD FLEX PRIORITY`),
	"Type":        oneOf(`STRING NUMBER INTEGER BOOLEAN ARRAY OBJECT NULL`),
	"HarmCategory": oneOf(`HARM_CATEGORY_HARASSMENT HARM_CATEGORY_HATE_SPEECH HARM_CATEGORY_SEXUALLY_EXPLICIT
		HARM_CATEGORY_DANGEROUS_CONTENT HARM_CATEGORY_CIVIC_INTEGRITY`),
	"HarmBlockThreshold": oneOf(`HARM_BLOCK_THRESHOLD_UNSPECIFIED BLOCK_LOW_AND_ABOVE BLOCK_MEDIUM_AND_ABOVE
		BLOCK_ONLY_HIGH BLOCK_NONE OFF`),
	"MediaResolution": oneOf(`MEDIA_RESOLUTION_UNSPECIFIED MEDIA_RESOLUTION_LOW MEDIA_RESOLUTION_MEDIUM MEDIA_RESOLUTION_HIGH`),
	"PartMediaResolution": oneOf(`MEDIA_RESOLUTION_UNSPECIFIED MEDIA_RESOLUTION_LOW MEDIA_RESOLUTION_MEDIUM
		MEDIA_RESOLUTION_HIGH MEDIA_RESOLUTION_ULTRA_HIGH`),
	"ThinkingLevel": oneOf(`THINKING_LEVEL_UNSPECIFIED MINIMAL LOW MEDIUM HIGH`),
}

func oneOf(names string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(names) {
		set[name] = true
	}
	return set
}
