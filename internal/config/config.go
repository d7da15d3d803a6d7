// Package config owns the settings: their names, what each means, where they
// may come from and what is a right value. Sources, each overruling the ones
// before it: defaults, .dev.vars in the data directory, the --config file, the
// environment, command line flags. An empty value is the same as none.
//
// It must not know how a setting is acted on. All mistakes are found here, at
// the border, and reported together, each in one sentence with its remedy; no
// message and no way of printing a Config shows a secret.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/moltworker/moltworker/internal/secret"
)

// Config is every setting, checked. Zero values mean what the field's comment
// or the key's entry in [Keys] says.
type Config struct {
	Data           string // absolute path
	Cache          string // absolute path
	PassphraseFile string

	Listen         string // ADDR:PORT
	PublicURL      string // WORKER_URL, without a slash at its end
	BaseDomain     string // lower case; empty: localhost names only
	TLSCert        string // both of the pair are set, or none
	TLSKey         string
	TrustedProxies []netip.Prefix
	GatewayToken   secret.Value // MOLTBOT_GATEWAY_TOKEN

	Agents      []string // at least "main"
	Sandbox     string   // "auto", "gvisor" or "process"
	Memory      int64    // bytes; 0: no limit
	CPUs        float64  // cores; 0: no limit
	PIDs        int64    // 0: no limit
	Scratch     int64    // bytes; 0: no limit
	BootTimeout time.Duration
	SleepAfter  time.Duration // 0: never
	LogLevel    slog.Level

	Pool               int
	ImageSeal          string        // "auto", "always" or "never"
	ImageCompressAfter time.Duration // 0: never
	ImageSpace         int64         // bytes; 0: no limit

	Demo             bool
	ModelLimits      []ModelLimit
	ModelCalls       int           // under way at once; 0: no limit
	ModelCache       time.Duration // how long answers are given again; 0: not
	ModelCacheShared []string      // agents that share what is kept of answers
	ModelPayloads    time.Duration // how long what is said to models and by them is kept; 0: not at all
	Model            string        // PROVIDER/MODEL; empty: the provider's default
	AnthropicKey     secret.Value
	AnthropicBaseURL string
	OpenAIKey        secret.Value
	OpenAIBaseURL    string
	AIGatewayKey     secret.Value
	AIGatewayBaseURL string

	AdminURL         string // without a slash at its end; empty: derived
	AutoPair         bool
	AccessTeamDomain string   // a host name, or http://HOST:PORT of this machine; set with AccessAudience or not at all
	AccessAudience   string   // CF_ACCESS_AUD
	AccessAllow      []string // lower case: ADDRESS, @DOMAIN or CLIENT.access; empty: everybody whom Access lets through
	OIDCIssuer       string   // as it was written; empty: no such sign-in
	OIDCClientID     string
	OIDCClientSecret secret.Value // may be put sealed instead; unset: a client without a secret
	OIDCAllow        []string     // lower case: ADDRESS or @DOMAIN
	DebugRoutes      bool
	DevMode          bool // the listener is a local one then

	Backup            Backup
	BackupBandwidth   int64 // bytes a second; 0: no limit
	BackupKeep        Keep
	BackupDrill       time.Duration // 0: never
	R2AccessKeyID     secret.Value
	R2SecretAccessKey secret.Value
	R2Bucket          string
	CFAccount         string
	R2Endpoint        string // http or https URL without a path; "": the account's own

	// Checked, but not acted on by this version: see Unused.
	TelegramBotToken   secret.Value
	TelegramDMPolicy   string
	DiscordBotToken    secret.Value
	DiscordDMPolicy    string
	SlackBotToken      secret.Value
	SlackAppToken      secret.Value
	SlackSigningSecret secret.Value
	CDPSecret          secret.Value

	// Warnings are sentences about settings that are allowed but unwise.
	Warnings []string

	given        map[string]setting // what was set, by name
	gatewayModel string             // CF_AI_GATEWAY_MODEL
}

// setting is a value as it was given, and by whom.
type setting struct {
	value  secret.Value // of any key: this copy may not be shown either
	origin string       // "FILE:LINE", "environment" or a flag
}

// Lookup returns the setting of that name as it was given. It is not found when
// only its default counts.
func (c Config) Lookup(name string) (secret.Value, bool) {
	s, ok := c.given[name]
	return s.value, ok
}

// Origin says where a setting came from: "FILE:LINE", "environment", a flag, or
// "default".
func (c Config) Origin(name string) string {
	if s, ok := c.given[name]; ok {
		return s.origin
	}
	return "default"
}

// Secrets are the values that were given for the names that hold a secret.
func (c Config) Secrets() map[string]secret.Value {
	found := map[string]secret.Value{}
	for _, k := range table {
		if s, ok := c.given[k.Name]; ok && k.Secret {
			found[k.Name] = s.value
		}
	}
	return found
}

// Unused names what was set but is not acted on by this version, in the order
// of [Keys].
func (c Config) Unused() []string {
	var names []string
	for _, k := range table {
		if _, ok := c.given[k.Name]; ok && k.Later != "" {
			names = append(names, k.Name)
		}
	}
	return names
}
