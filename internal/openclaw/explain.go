package openclaw

import (
	"cmp"
	"regexp"
)

// MaxCloseReason is how many bytes a WebSocket close reason may have.
const MaxCloseReason = 123

// Explanation says in our user's terms why OpenClaw's gateway refused a
// connection.
type Explanation struct {
	Title   string
	Text    string
	Command string // what to run on the machine that runs moltworker; may be empty
}

// CloseReason is the explanation in the room that a WebSocket close has.
func (e Explanation) CloseReason() string {
	s := e.Title
	if e.Command != "" {
		s += ": run " + e.Command
	}
	if len(s) > MaxCloseReason {
		s = e.Title
	}
	return s
}

// Gateway error codes, as in error.details.code or error.code of a refused
// connect, or error.type of a refused HTTP request.
const (
	CodeTokenMissing    = "AUTH_TOKEN_MISSING"
	CodeTokenMismatch   = "AUTH_TOKEN_MISMATCH"
	CodePairingRequired = "PAIRING_REQUIRED"
	CodeNotPaired       = "NOT_PAIRED"
	CodeOrigin          = "CONTROL_UI_ORIGIN_NOT_ALLOWED"
	CodeDeviceIdentity  = "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"
	CodeRateLimited     = "AUTH_RATE_LIMITED"
	CodeAttribution     = "proxy_attribution_required"
	CodeUnavailable     = "UNAVAILABLE"
)

// requestIDForm is what OpenClaw's own clients accept as a request ID. It comes
// from the sandbox and ends up in a command that a person copies.
var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// Explain translates a gateway error. requestID is that of a pairing request, if
// any; agent is the agent's name. ok is false for a code that needs no
// translation.
func Explain(code, requestID, agent string) (e Explanation, ok bool) {
	forAgent := ""
	if agent != "" && agent != "main" {
		forAgent = " --agent " + agent
	}
	switch code {
	case CodePairingRequired, CodeNotPaired:
		return explainPairing(requestID, forAgent), true
	case CodeTokenMissing:
		return Explanation{
			Title: "This page was opened without its token",
			Text:  "Open the Control UI by the link with the token in it that `moltworker up` prints.",
		}, true
	case CodeTokenMismatch:
		return Explanation{
			Title: "The token is wrong or out of date",
			Text:  "Open the Control UI by the link that the running `moltworker up` printed; an older link or a token stored in this browser no longer counts.",
		}, true
	case CodeOrigin:
		return Explanation{
			Title: "This address is not one that the agent expects",
			Text:  "Open the Control UI at the address that `moltworker up` prints, or start moltworker with WORKER_URL set to the address you use.",
		}, true
	case CodeDeviceIdentity, "DEVICE_IDENTITY_REQUIRED":
		return Explanation{
			Title: "The browser needs a secure address",
			Text:  "Open the Control UI by https, or by http on localhost: on other plain http addresses a browser cannot make the key that identifies it.",
		}, true
	case CodeRateLimited:
		return Explanation{
			Title: "Too many wrong tokens from this address",
			Text:  "Wait five minutes, then open the Control UI by the link that `moltworker up` printed.",
		}, true
	case CodeAttribution:
		command := "moltworker agent restart " + cmp.Or(agent, "main")
		return Explanation{
			Title:   "The agent does not accept the caller's address",
			Text:    "Its openclaw.json no longer trusts moltworker to state it. Run `" + command + "` to have that written anew.",
			Command: command,
		}, true
	case CodeUnavailable:
		return Explanation{
			Title: "The agent is still starting",
			Text:  "The page connects by itself when the agent is ready.",
		}, true
	}
	return Explanation{}, false
}

func explainPairing(requestID, forAgent string) Explanation {
	e := Explanation{
		Title:   "Approve this browser",
		Command: "moltworker device ls" + forAgent,
	}
	if requestIDForm.MatchString(requestID) {
		e.Command = "moltworker device approve " + requestID + forAgent
	}
	e.Text = "The agent has not seen this browser before. On the machine that runs moltworker, run `" + e.Command + "`; the page then connects by itself."
	return e
}
