package migrate

import (
	"regexp"
	"strings"
)

// A place is where OpenClaw, or what it was called before, keeps a secret in a JSON
// file. A "*" stands for any one name, and $1 in the secret's name for what the
// first of them is here.
type place struct {
	path []string
	name string
}

// places are tried in order. Those of channels hold with and without "channels"
// before them, as they were in the first versions.
var places = makePlaces(`
models.providers.*.apiKey           $1_API_KEY
providers.*.apiKey                  $1_API_KEY
profiles.*.key                      $1_API_KEY
profiles.*.token                    $1_OAUTH_TOKEN
profiles.*.access                   $1_OAUTH_ACCESS
profiles.*.refresh                  $1_OAUTH_REFRESH
telegram.botToken                   TELEGRAM_BOT_TOKEN
telegram.accounts.*.botToken        TELEGRAM_BOT_TOKEN_$1
telegram.webhookSecret              TELEGRAM_WEBHOOK_SECRET
discord.token                       DISCORD_BOT_TOKEN
discord.accounts.*.token            DISCORD_BOT_TOKEN_$1
slack.botToken                      SLACK_BOT_TOKEN
slack.appToken                      SLACK_APP_TOKEN
slack.userToken                     SLACK_USER_TOKEN
slack.signingSecret                 SLACK_SIGNING_SECRET
slack.accounts.*.botToken           SLACK_BOT_TOKEN_$1
slack.accounts.*.appToken           SLACK_APP_TOKEN_$1
slack.accounts.*.userToken          SLACK_USER_TOKEN_$1
slack.accounts.*.signingSecret      SLACK_SIGNING_SECRET_$1
gateway.auth.token                  MOLTBOT_GATEWAY_TOKEN
gateway.token                       MOLTBOT_GATEWAY_TOKEN
gateway.auth.password               GATEWAY_PASSWORD
gateway.remote.token                REMOTE_GATEWAY_TOKEN
gateway.remote.password             REMOTE_GATEWAY_PASSWORD
hooks.token                         HOOKS_TOKEN
cron.webhookToken                   CRON_WEBHOOK_TOKEN
talk.apiKey                         ELEVENLABS_API_KEY
talk.providers.*.apiKey             $1_API_KEY
messages.tts.*.apiKey               $1_API_KEY
messages.tts.providers.*.apiKey     $1_API_KEY
tools.web.search.apiKey             BRAVE_API_KEY
tools.web.search.*.apiKey           $1_API_KEY
tools.web.fetch.*.apiKey            $1_API_KEY
skills.entries.*.apiKey             $1_API_KEY
`)

// Places whose last name says whether what is there is a secret, and what it is
// called.
var environments = makePlaces(`
env.vars.*                          $1
env.*                               $1
skills.entries.*.env.*              $2
mcp.servers.*.env.*                 $2
mcp.servers.*.headers.*             $1_$2
models.providers.*.headers.*        $1_$2
providers.*.headers.*               $1_$2
`)

func makePlaces(table string) (list []place) {
	for line := range strings.Lines(table) {
		if path, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			list = append(list, place{strings.Split(path, "."), strings.TrimSpace(name)})
		}
	}
	return list
}

// fits gives what the stars of a place are in a path; false when it is elsewhere.
func (p place) fits(path []string) (stars []string, ok bool) {
	if len(path) > 0 && path[0] == "channels" && len(p.path) < len(path) {
		path = path[1:]
	}
	if len(path) != len(p.path) {
		return nil, false
	}
	for i, want := range p.path {
		if want == "*" {
			stars = append(stars, path[i])
		} else if want != path[i] {
			return nil, false
		}
	}
	return stars, true
}

// nameFor fills in the stars.
func (p place) nameFor(stars []string) string {
	name := p.name
	for i, star := range stars {
		star, _, _ = strings.Cut(star, ":") // of "anthropic:default", a profile
		if star == "default" {
			star = ""
		}
		name = strings.ReplaceAll(name, "$"+string(rune('1'+i)), service(star))
	}
	return secretName(name)
}

// service is a provider's name as it is in names of secrets.
func service(id string) string {
	switch {
	case id == "google", id == "google-generative-ai":
		return "GEMINI"
	case id == "cloudflare-ai-gateway", strings.HasPrefix(id, "cf-ai-gw-"):
		return "CLOUDFLARE_AI_GATEWAY"
	}
	return id
}

// secretPlace gives the secret's name for a path in a JSON file of OpenClaw's; ""
// for a path that no secret is known to be at.
func secretPlace(path []string) string {
	for _, p := range places {
		if stars, ok := p.fits(path); ok {
			return p.nameFor(stars)
		}
	}
	if !isSecretName(path[len(path)-1]) {
		return ""
	}
	for _, p := range environments {
		if stars, ok := p.fits(path); ok {
			return p.nameFor(stars)
		}
	}
	return ""
}

var secretWord = regexp.MustCompile(`(?i)(api[-_]?key|token|secret|passw(or)?d|passphrase|credentials?|private[-_]?key|access[-_]?key|authorization|cookie|_key|_pat|_pwd|_dsn)$`)

// isSecretName says whether a key or variable of that name holds a secret.
func isSecretName(name string) bool { return secretWord.MatchString(name) }
