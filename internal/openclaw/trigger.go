package openclaw

import "strings"

// Triggers: why an agent calls a model.
const (
	TriggerUser      = "user"      // somebody wrote in the Control UI, or by the API
	TriggerChannel   = "channel"   // somebody wrote in a chat channel
	TriggerHeartbeat = "heartbeat" // the agent looks by itself whether there is anything to do
	TriggerCron      = "cron"      // an automation of the agent's is due
	TriggerSubagent  = "subagent"  // an agent that this agent started
)

// What OpenClaw puts into the user's messages of the calls that nobody asked for
// (OpenClaw 2026.9.6: src/auto-reply/heartbeat.ts, the isolated runs of cron, and
// the envelopes of sub-agents).
const (
	internalContext  = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"
	heartbeatPrompt  = "Follow the heartbeat monitor scratch context"
	heartbeatPoll    = "[OpenClaw heartbeat poll]"
	cronPrefix       = "[cron:"
	cronWake         = "[OpenClaw cron wake]"
	subagentPrefix   = "[Subagent Context]"
	subagentTask     = "[Subagent Task]"
	conversationInfo = "Conversation info (untrusted metadata)"
)

// channelNames begin the envelope of a message that came by a channel:
// "[Telegram Ann id:1 2026-01-30 12:00] hello".
var channelNames = []string{"Telegram", "Slack", "Discord", "WhatsApp", "Signal", "iMessage", "BlueBubbles", "Matrix", "Teams", "Google Chat", "Mattermost", "LINE", "Zalo", "IRC", "Feishu", "Nostr"}

// Trigger says why an agent makes a call, from what its user messages begin with:
// the first of all, the last one, and the one before that. It is what the agent
// says, and an agent may say anything.
func Trigger(first, last, before string) string {
	if strings.HasPrefix(last, internalContext) {
		last = before
	}
	if strings.HasPrefix(first, subagentPrefix) || strings.HasPrefix(first, subagentTask) || strings.HasPrefix(last, subagentPrefix) {
		return TriggerSubagent
	}
	text := withoutTime(last)
	switch {
	case strings.HasPrefix(text, heartbeatPoll), strings.Contains(text, heartbeatPrompt):
		return TriggerHeartbeat
	case strings.HasPrefix(text, cronPrefix), strings.HasPrefix(text, cronWake):
		return TriggerCron
	case strings.HasPrefix(text, conversationInfo), isFromChannel(text):
		return TriggerChannel
	case text == "":
		return ""
	}
	return TriggerUser
}

// withoutTime drops the time that OpenClaw puts before a message: "[Sun 2026-02-01
// 10:00 UTC] hello".
func withoutTime(text string) string {
	text = strings.TrimSpace(text)
	for _, day := range []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"} {
		if strings.HasPrefix(text, "["+day+" ") {
			if end := strings.IndexByte(text, ']'); end > 0 && end < 64 {
				return strings.TrimSpace(text[end+1:])
			}
		}
	}
	return text
}

func isFromChannel(text string) bool {
	inner, ok := strings.CutPrefix(text, "[")
	if !ok {
		return false
	}
	for _, name := range channelNames {
		if rest, ok := strings.CutPrefix(inner, name); ok && (strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "]")) {
			return true
		}
	}
	return false
}
