package price

import "strings"

// shares are what services cost in percent of the standard one; 0 where it is not
// known.
type shares struct {
	batch, flex, priority int64
}

func (s shares) of(service string) (percent int64, known bool) {
	switch service {
	case "", "standard", "default", "on_demand":
		return 100, true
	case "batch":
		percent = s.batch
	case "flex":
		percent = s.flex
	case "priority":
		percent = s.priority
	}
	if percent == 0 {
		return 100, false
	}
	return percent, true
}

// provider is what is known of a provider besides its prices.
type provider struct {
	aliases []string // names that others have for it, among them Cloudflare's, OpenRouter's and genai-prices'
	// fallback are providers whose models it serves for their price where it has no
	// row of its own.
	fallback []string
	shares   shares
}

// providers are by the names that the table has. Half the price for a batch is
// documented by each that has it here: Anthropic (Message Batches), OpenAI (Batch and
// Flex), Google (Batch Mode, for Vertex AI too), Groq (Batch; its Flex costs what
// on demand does), Mistral (Batch), Azure (Global Batch) and Amazon Bedrock (batch
// inference). OpenAI's priority costs twice as much by pi-ai's code; see sharesOf.
var providers = map[string]provider{
	"anthropic":  {aliases: []string{"claude"}, shares: shares{batch: 50}},
	"openai":     {shares: shares{batch: 50, flex: 50, priority: 200}},
	"google":     {aliases: []string{"google-ai-studio", "gemini", "google-generative-ai", "googleai"}, shares: shares{batch: 50}},
	"vertex":     {aliases: []string{"google-vertex-ai", "google-vertex", "vertex-ai", "vertexai"}, fallback: []string{"google", "anthropic"}, shares: shares{batch: 50}},
	"azure":      {aliases: []string{"azure-openai", "azure-ai", "microsoft"}, fallback: []string{"openai", "anthropic", "deepseek", "xai", "moonshotai"}, shares: shares{batch: 50}},
	"bedrock":    {aliases: []string{"aws-bedrock", "amazon-bedrock", "aws", "amazon"}, shares: shares{batch: 50}},
	"groq":       {shares: shares{batch: 50, flex: 100}},
	"mistral":    {aliases: []string{"mistralai"}, shares: shares{batch: 50}},
	"xai":        {aliases: []string{"x-ai", "grok", "spacexai"}},
	"perplexity": {aliases: []string{"perplexity-ai", "perplexityai"}},

	"huggingface": {aliases: []string{"hugging-face", "hf"}},
	"workers-ai":  {aliases: []string{"cloudflare", "cloudflare-workers-ai", "workersai"}},
	"cohere":      {aliases: []string{"cohereai"}},
	"fireworks":   {aliases: []string{"fireworks-ai"}},
	"meta":        {aliases: []string{"meta-llama"}},
	"moonshotai":  {aliases: []string{"moonshot", "moonshot-ai"}},
	"together":    {aliases: []string{"together-ai", "togetherai"}},
	"vercel":      {aliases: []string{"vercel-ai-gateway"}},
	"voyageai":    {aliases: []string{"voyage", "voyage-ai"}},
	"zai":         {aliases: []string{"z-ai", "z.ai"}},
	"zhipuai":     {aliases: []string{"zhipu", "bigmodel"}},
}

// demo is the provider of the demo model, which costs nothing.
const demo = "demo"

var canonicalNames = func() map[string]string {
	names := map[string]string{}
	for name, p := range providers {
		for _, alias := range p.aliases {
			names[alias] = name
		}
	}
	return names
}()

// canonical is the name that the table has for a provider.
func canonical(name string) string {
	name = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")
	if known, ok := canonicalNames[name]; ok {
		return known
	}
	return name
}

// sharesOf are the shares of a model's services.
func sharesOf(provider, model string) shares {
	s := providers[provider].shares
	if provider == "openai" && model == "gpt-5.5" {
		s.priority = 250
	}
	return s
}
