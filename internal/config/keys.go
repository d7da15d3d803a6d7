//go:generate go run ./configdoc ../../docs/configuration.md

package config

import (
	"slices"
	"time"
)

// Key documents one name.
type Key struct {
	Name    string
	Group   string // heading it belongs under
	Meaning string // what it decides, a phrase
	Form    string // how a value is written
	Default string // value that counts when none is given; "" when there is none
	Absent  string // in words, what happens without a value, where Default does not say it
	Flag    string // the flag that sets it too, "" when there is none
	Secret  bool   // its value is never shown
	Later   string // the part that will act on it; "" when this version does

	set func(*Config, string) error // checks a value and keeps it
}

// Keys documents every name, grouped, in the order of the documentation.
func Keys() []Key { return slices.Clone(table) }

// Groups, which are also headings.
const (
	groupPlace   = "Places"
	groupWeb     = "Web"
	groupAgents  = "Agents and their sandboxes"
	groupModels  = "Models"
	groupAccess  = "Sign-in"
	groupChannel = "Chat channels"
	groupStorage = "Backup storage"
	groupBrowser = "Browser"
)

var table = slices.Concat(placeKeys(), webKeys(), agentKeys(), modelKeys(), providerKeys(), accessKeys(), storageKeys(), laterKeys())

func placeKeys() []Key {
	return []Key{
		{Name: "MOLTWORKER_DATA", Group: groupPlace, Flag: "--data", Form: "directory",
			Meaning: "where agents, secrets and state are kept",
			Absent:  "$XDG_DATA_HOME/moltworker, else /var/lib/moltworker for root and ~/.local/share/moltworker for others",
			set:     path(func(c *Config) *string { return &c.Data })},
		{Name: "MOLTWORKER_CACHE", Group: groupPlace, Form: "directory",
			Meaning: "where OpenClaw installations are kept, shared by all data directories; may be deleted",
			Absent:  "$XDG_CACHE_HOME/moltworker, else ~/.cache/moltworker",
			set:     path(func(c *Config) *string { return &c.Cache })},
		{Name: "MOLTWORKER_PASSPHRASE_FILE", Group: groupPlace, Form: "file",
			Meaning: "the first line of this file is the passphrase that opens the sealed secrets' key; without it the key lies in the data directory",
			set:     path(func(c *Config) *string { return &c.PassphraseFile })},
		{Name: "MOLTWORKER_LOG_LEVEL", Group: groupPlace, Form: "debug, info, warn or error",
			Meaning: "the least important lines that are logged; info adds a line for every model call", Default: "warn", set: logLevel},
	}
}

func webKeys() []Key {
	return []Key{
		{Name: "MOLTWORKER_LISTEN", Group: groupWeb, Flag: "--listen", Form: "ADDR:PORT",
			Meaning: "where the web address listens; an empty ADDR means every interface, port 0 any free one",
			Default: "127.0.0.1:8787", set: listen},
		{Name: "WORKER_URL", Group: groupWeb, Form: "http or https URL without a path",
			Meaning: "the address under which people reach moltworker, when it stands behind a proxy",
			set:     origin(func(c *Config) *string { return &c.PublicURL })},
		{Name: "MOLTWORKER_BASE_DOMAIN", Group: groupWeb, Form: "DNS name",
			Meaning: "agents are reached as NAME.DOMAIN, beside NAME.localhost",
			set:     domain(func(c *Config) *string { return &c.BaseDomain })},
		{Name: "MOLTWORKER_TLS_CERT", Group: groupWeb, Form: "PEM file",
			Meaning: "certificate chain to serve HTTPS with; needs MOLTWORKER_TLS_KEY",
			set:     file(func(c *Config) *string { return &c.TLSCert })},
		{Name: "MOLTWORKER_TLS_KEY", Group: groupWeb, Form: "PEM file",
			Meaning: "private key of MOLTWORKER_TLS_CERT",
			set:     file(func(c *Config) *string { return &c.TLSKey })},
		{Name: "MOLTWORKER_TRUSTED_PROXIES", Group: groupWeb, Form: "comma list of addresses and CIDR blocks",
			Meaning: "proxies whose X-Forwarded-For is believed", set: proxies},
		{Name: "MOLTBOT_GATEWAY_TOKEN", Group: groupWeb, Secret: true, Form: "16 characters or more, better 32",
			Meaning: "the token that opens the Control UI",
			Absent:  "made at random on the first start and kept sealed",
			set:     token},
	}
}

func agentKeys() []Key {
	return []Key{
		{Name: "MOLTWORKER_AGENTS", Group: groupAgents, Form: "comma list of names: a-z, 0-9 and inner -, at most 40 characters",
			Meaning: "the agents to run; main is always one of them", Default: mainAgent, set: agents},
		{Name: "MOLTWORKER_SANDBOX", Group: groupAgents, Flag: "--sandbox", Form: "auto, gvisor or process",
			Meaning: "what isolates agents; auto takes gvisor where it runs", Default: "auto",
			set: oneOf(func(c *Config) *string { return &c.Sandbox }, "auto", "gvisor", "process")},
		{Name: "MOLTWORKER_MEMORY", Group: groupAgents, Form: "size, 1GiB to 1TiB; 0 for no limit",
			Meaning: "memory of each agent; OpenClaw alone needs 1.5GiB to 2GiB", Default: "3GiB",
			set: size(func(c *Config) *int64 { return &c.Memory }, 1<<30, 1<<40)},
		{Name: "MOLTWORKER_CPUS", Group: groupAgents, Form: "number of cores, 0.1 to 1024; 0 for no limit",
			Meaning: "processor time of each agent", Default: "0", set: cpus},
		{Name: "MOLTWORKER_PIDS", Group: groupAgents, Form: "number, 512 to 1000000; 0 for no limit",
			Meaning: "processes and threads of each agent, those of its sandbox included", Default: "4096", set: pids},
		{Name: "MOLTWORKER_SCRATCH", Group: groupAgents, Form: "size, 16MiB to 1TiB; 0 for no limit",
			Meaning: "temporary files of each agent, which take memory and are gone when it stops", Default: "1GiB",
			set: size(func(c *Config) *int64 { return &c.Scratch }, 16<<20, 1<<40)},
		{Name: "MOLTWORKER_BOOT_TIMEOUT", Group: groupAgents, Form: "duration, 10s to 1h",
			Meaning: "how long OpenClaw may take to boot before the boot is tried again", Default: "5m", set: bootTimeout},
		{Name: "SANDBOX_SLEEP_AFTER", Group: groupAgents, Form: "duration, 10s to 8760h, or never",
			Meaning: "how long nobody must have used an agent before it sleeps; an open page alone is no use", Default: "10m",
			set: orNever(func(c *Config) *time.Duration { return &c.SleepAfter }, 10*time.Second, "a time from 10s to 8760h, such as 10m or 1h30m, or never")},
		{Name: "MOLTWORKER_POOL", Group: groupAgents, Form: "number, 0 to 100",
			Meaning: "agents booted ahead of need and kept asleep, so that `agent create` takes a second; each takes the space of an image", Default: "0", set: pool},
		{Name: "MOLTWORKER_IMAGE_SEAL", Group: groupAgents, Form: "auto, always or never",
			Meaning: "which images of sleeping agents are encrypted on disk: auto leaves recent ones plain, because that halves the time of a wake", Default: "auto",
			set: oneOf(func(c *Config) *string { return &c.ImageSeal }, "auto", "always", "never")},
		{Name: "MOLTWORKER_IMAGE_COMPRESS_AFTER", Group: groupAgents, Form: "duration, 1m to 8760h, or never",
			Meaning: "how long an agent sleeps before its image is compressed, to a fifth; the wake then takes longer", Default: "1h",
			set: orNever(func(c *Config) *time.Duration { return &c.ImageCompressAfter }, time.Minute, "a time from 1m to 8760h, such as 1h, or never")},
		{Name: "MOLTWORKER_IMAGE_SPACE", Group: groupAgents, Form: "size, 1GiB to 1024TiB; 0 for no limit",
			Meaning: "disk space for all images; beyond it the oldest are compressed, then removed, and their agents boot when they are needed", Default: "20GiB",
			set: size(func(c *Config) *int64 { return &c.ImageSpace }, 1<<30, 1<<50)},
	}
}

func modelKeys() []Key {
	return []Key{
		{Name: "ANTHROPIC_API_KEY", Group: groupModels, Secret: true, Form: "text",
			Meaning: "key for Anthropic's API; stays on the host, agents see a placeholder",
			set:     hidden(func(c *Config) *secretValue { return &c.AnthropicKey })},
		{Name: "ANTHROPIC_BASE_URL", Group: groupModels, Form: "http or https URL",
			Meaning: "address that speaks Anthropic's API; /v1/messages is added", Absent: "Anthropic's own",
			set: baseURL(func(c *Config) *string { return &c.AnthropicBaseURL })},
		{Name: "OPENAI_API_KEY", Group: groupModels, Secret: true, Form: "text",
			Meaning: "key for OpenAI's API; stays on the host, agents see a placeholder",
			set:     hidden(func(c *Config) *secretValue { return &c.OpenAIKey })},
		{Name: "OPENAI_BASE_URL", Group: groupModels, Form: "http or https URL",
			Meaning: "address that speaks OpenAI's API; /chat/completions is added", Absent: "OpenAI's own",
			set: baseURL(func(c *Config) *string { return &c.OpenAIBaseURL })},
		{Name: "AI_GATEWAY_API_KEY", Group: groupModels, Secret: true, Form: "text",
			Meaning: "key for the provider behind AI_GATEWAY_BASE_URL",
			set:     hidden(func(c *Config) *secretValue { return &c.AIGatewayKey })},
		{Name: "AI_GATEWAY_BASE_URL", Group: groupModels, Form: "http or https URL that ends in /anthropic or /openai",
			Meaning: "another AI gateway that takes that provider's place",
			set:     aiGateway},
		{Name: "MOLTWORKER_MODEL", Group: groupModels, Form: "PROVIDER/MODEL",
			Meaning: "model that agents use", Absent: "chosen by the keys that are set", set: model},
		{Name: "MOLTWORKER_MODEL_LIMITS", Group: groupModels, Form: "comma list of NUMBER/DURATION for calls and NUMBERt/DURATION for tokens",
			Meaning: "how much each agent may call models in a time: 60/1m,500000t/1h", Absent: "no limit", set: modelLimits},
		{Name: "MOLTWORKER_MODEL_CALLS", Group: groupModels, Form: "number, 0 to 10000",
			Meaning: "how many model calls are under way at once, of all agents together; others wait a while; 0 for no limit", Default: "0", set: modelCalls},
		{Name: "MOLTWORKER_MODEL_CACHE", Group: groupModels, Form: "duration, 1s to 8760h, or never",
			Meaning: "how long a model's answer is given again to the same agent that asks exactly the same; 31 days at most", Default: "never",
			set: orNever(func(c *Config) *time.Duration { return &c.ModelCache }, time.Second, "a time from 1s to 8760h, such as 1h, or never")},
		{Name: "MOLTWORKER_MODEL_CACHE_SHARED", Group: groupModels, Form: "comma list of agents' names",
			Meaning: "agents that are given each other's answers when they ask the same; others only their own", Absent: "none", set: sharedCache},
		{Name: "MOLTWORKER_MODEL_PAYLOADS", Group: groupModels, Form: "duration, 1h to 8760h, or never",
			Meaning: "how long what agents ask models and what those answer is kept with the record of calls, without secrets and personal data that can be told", Default: "never",
			set: orNever(func(c *Config) *time.Duration { return &c.ModelPayloads }, time.Hour, "a time from 1h to 8760h, such as 168h, or never")},
		{Name: "MOLTWORKER_DEMO", Group: groupModels, Flag: "--demo", Form: "true or false",
			Meaning: "use the built-in demo model even when a key is set", Default: "false",
			set: boolean(func(c *Config) *bool { return &c.Demo })},
	}
}
