package openclaw

import "bytes"

// Bounds of what Passive reads of a frame.
const (
	maxFrameID = 128 // the Control UI's are at most 50
	maxMethod  = 64
)

// passive are the methods that an open tab of the Control UI calls with nobody at
// it: the handshake and what it reads after each connect, and what its pages read
// at intervals. All of them only read, or tell what the tab shows. A tab calls
// some also when a person goes from page to page; that is looking, not acting.
var passive = makeSet(
	// The handshake, and what follows each connect.
	"connect",
	"agent.identity.get", "agents.list", "board.get", "chat.history", "chat.metadata", "chat.startup",
	"config.get", "controlUi.sessionPullRequests.subscribe", "cron.list", "cron.status",
	"exec.approval.list", "mentions.list", "models.authStatus", "models.list", "openclaw.approval.list",
	"plugin.approval.list", "plugin.surface.refresh", "plugins.controlUi.list", "progressCard.get",
	"projects.list", "question.list", "session.discussion.info", "sessions.branches.list",
	"sessions.companion.state", "sessions.describe", "sessions.groups.defaults", "sessions.groups.list",
	"sessions.list", "sessions.messages.subscribe", "sessions.messages.unsubscribe",
	"sessions.observer.visibility", "sessions.subscribe", "sessions.viewers.set", "system.info",
	"talk.catalog", "taskSuggestions.list", "tasks.list", "update.status", "users.prefs.get",
	// At intervals: any page, the sidebar.
	"sessions.catalog.list", "node.list",
	// At intervals: one page each.
	"channels.pairing.list", "channels.status", "device.pair.list", "diagnostics.lanes",
	"environments.list", "environments.status", "health", "last-heartbeat", "logs.tail",
	"portal.list", "sessions.storage.status", "status", "system-presence", "transcripts.list",
	"transcripts.status",
)

func makeSet(names ...string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, name := range names {
		set[name] = struct{}{}
	}
	return set
}

// Passive says whether a text message from a client of the gateway is one that an
// open tab of the Control UI sends by itself, with nobody acting: it neither
// counts as use of the agent nor needs to wake it. Whatever it does not know is a
// person's act, such as a message to the agent or a change of settings.
//
// frame may be cut off after its first kilobyte, and is hostile: only its
// beginning is read, in the one form in which OpenClaw's own clients write it
// ({"type":"req","id":"…","method":"…"), without escapes). A client that lies about
// its method hides its own use, no more.
func Passive(frame []byte) bool {
	rest, ok := bytes.CutPrefix(frame, []byte(`{"type":"req","id":"`))
	if !ok {
		return false
	}
	_, rest, ok = cutString(rest, maxFrameID)
	if !ok {
		return false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"method":"`))
	if !ok {
		return false
	}
	method, rest, ok := cutString(rest, maxMethod)
	if !ok || len(rest) == 0 || rest[0] != ',' && rest[0] != '}' {
		return false
	}
	_, ok = passive[string(method)]
	return ok
}

// cutString takes the rest of a JSON string without escapes, of at most n bytes,
// and its closing quote.
func cutString(b []byte, n int) (value, rest []byte, ok bool) {
	head := b[:min(len(b), n+1)]
	end := bytes.IndexByte(head, '"')
	if end < 0 || bytes.IndexByte(head[:end], '\\') >= 0 {
		return nil, nil, false
	}
	return b[:end], b[end+1:], true
}
