package config

// laterKeys are the names that other parts will act on. They are accepted and
// checked, so that a file of them carries over, and told of by Unused.
func laterKeys() []Key {
	return []Key{
		{Name: "TELEGRAM_BOT_TOKEN", Group: groupChannel, Secret: true, Form: "text", Later: "Telegram",
			Meaning: "token of the Telegram bot", set: hidden(func(c *Config) *secretValue { return &c.TelegramBotToken })},
		{Name: "TELEGRAM_DM_POLICY", Group: groupChannel, Form: dmForm, Later: "Telegram", Default: "pairing",
			Meaning: "who may write to the bot", set: dmPolicy(func(c *Config) *string { return &c.TelegramDMPolicy })},
		{Name: "DISCORD_BOT_TOKEN", Group: groupChannel, Secret: true, Form: "text", Later: "Discord",
			Meaning: "token of the Discord bot", set: hidden(func(c *Config) *secretValue { return &c.DiscordBotToken })},
		{Name: "DISCORD_DM_POLICY", Group: groupChannel, Form: dmForm, Later: "Discord", Default: "pairing",
			Meaning: "who may write to the bot", set: dmPolicy(func(c *Config) *string { return &c.DiscordDMPolicy })},
		{Name: "SLACK_BOT_TOKEN", Group: groupChannel, Secret: true, Form: "text", Later: "Slack",
			Meaning: "bot token of the Slack app", set: hidden(func(c *Config) *secretValue { return &c.SlackBotToken })},
		{Name: "SLACK_APP_TOKEN", Group: groupChannel, Secret: true, Form: "text", Later: "Slack",
			Meaning: "app-level token of the Slack app", set: hidden(func(c *Config) *secretValue { return &c.SlackAppToken })},
		{Name: "SLACK_SIGNING_SECRET", Group: groupChannel, Secret: true, Form: "text", Later: "Slack",
			Meaning: "proves that a request comes from Slack", set: hidden(func(c *Config) *secretValue { return &c.SlackSigningSecret })},

		{Name: "CDP_SECRET", Group: groupBrowser, Secret: true, Form: "text", Later: "browser",
			Meaning: "secret that opens /cdp", set: hidden(func(c *Config) *secretValue { return &c.CDPSecret })},
	}
}

const dmForm = "pairing, allowlist, open or disabled"

func dmPolicy(field func(*Config) *string) func(*Config, string) error {
	return oneOf(field, "pairing", "allowlist", "open", "disabled")
}
