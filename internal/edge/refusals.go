package edge

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// verdict is what a message of the gateway means for the watching.
type verdict struct {
	over    bool     // nothing more to watch: the client is in, or this is another protocol
	refusal *refusal // an answer that refuses the client
}

// refusal is a failed answer of the gateway's protocol, decoded as far as it has
// to be to put another message in.
type refusal struct {
	frame, err map[string]json.RawMessage
	code       string
	requestID  string
	message    string
}

// judge reads a message of the gateway's WebSocket protocol.
func judge(message []byte) verdict {
	var frame map[string]json.RawMessage
	if json.Unmarshal(message, &frame) != nil {
		return verdict{over: true}
	}
	var kind string
	_ = json.Unmarshal(frame["type"], &kind)
	switch kind {
	case "event":
		return verdict{} // the challenge, or the like
	case "res":
	default:
		return verdict{over: true}
	}
	if string(frame["ok"]) != "false" {
		return verdict{over: true} // hello-ok
	}
	return verdict{refusal: readRefusal(frame)}
}

// requestIDs is the form of IDs that may appear in a command that people copy
// into a shell. The guest chooses them, so nothing else does.
var requestIDs = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

func readRefusal(frame map[string]json.RawMessage) *refusal {
	r := &refusal{frame: frame}
	if json.Unmarshal(frame["error"], &r.err) != nil || r.err == nil {
		return nil
	}
	var details struct {
		Code      string `json:"code"`
		RequestID string `json:"requestId"`
	}
	_ = json.Unmarshal(r.err["details"], &details)
	_ = json.Unmarshal(r.err["message"], &r.message)
	r.code = details.Code
	if r.code == "" {
		_ = json.Unmarshal(r.err["code"], &r.code)
	}
	if requestIDs.MatchString(details.RequestID) {
		r.requestID = details.RequestID
	}
	return r
}

// rewrite puts our explanation before the gateway's message, which stays in
// brackets: clients look for the request's ID and the kind of the refusal in it.
// Details stay as they are, because OpenClaw's page decides by them what to show
// and whether to keep trying.
func (f *frameWatch) rewrite(r *refusal) (text []byte, ok bool) {
	words, ok := f.explain(r.code, r.requestID, f.agent)
	if !ok {
		return nil, false
	}
	original := r.message
	if r.requestID != "" && !strings.Contains(original, r.requestID) {
		original += fmt.Sprintf(" (requestId: %s)", r.requestID)
	}
	message, err := json.Marshal(fmt.Sprintf("%s [%s]", words, strings.TrimSpace(original)))
	if err != nil {
		return nil, false
	}
	r.err["message"] = message
	if r.frame["error"], err = json.Marshal(r.err); err != nil {
		return nil, false
	}
	if text, err = json.Marshal(r.frame); err != nil {
		return nil, false
	}
	f.reason = closeReason(words, r.requestID, f.agent)
	return text, true
}

// maxCloseReason is what a control frame holds besides the close code.
const maxCloseReason = 123

// closeReason is an explanation short enough for a close frame. When the whole is
// too long and there is something to approve, the command alone is said.
func closeReason(words, requestID, agent string) string {
	if len(words) > maxCloseReason && requestID != "" {
		words = "approve with: " + approveCommand(requestID, agent)
	}
	if len(words) <= maxCloseReason {
		return strings.ToValidUTF8(words, "")
	}
	const more = "…"
	cut := strings.ToValidUTF8(words[:maxCloseReason-len(more)], "")
	if word := strings.LastIndexByte(cut, ' '); word > 0 {
		cut = cut[:word]
	}
	return cut + more
}

func approveCommand(requestID, agent string) string {
	command := "moltworker device approve " + requestID
	if agent != mainAgent {
		command += " --agent " + agent
	}
	return command
}
