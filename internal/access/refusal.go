package access

import (
	"fmt"
	"net/http"
	"time"
)

// Reason is why a caller was refused.
type Reason string

// The reasons.
const (
	Missing      Reason = "token_missing"
	Wrong        Reason = "token_wrong"
	Expired      Reason = "cookie_expired" // a cookie of ours that opens nothing any more
	Limited      Reason = "too_many_attempts"
	Unconfigured Reason = "token_not_configured"
	SignedOut    Reason = "not_signed_in"
	Rejected     Reason = "credential_rejected" // of somebody known to another party, who vouched wrongly or not for us
	Forbidden    Reason = "forbidden"           // known, but not allowed this
	Unavailable  Reason = "sign_in_unavailable" // nobody can say now who that is
)

// A Refusal is the error of a caller who was not let in. Its words are safe to
// show to that caller.
type Refusal struct {
	Reason     Reason
	Message    string        // one sentence
	Remedy     string        // what to do about it
	RetryAfter time.Duration // Limited: when the next attempt is heard
	Final      bool          // no other credential of the request counts
	Detail     string        // for the owner's log alone: what exactly was wrong
}

func (r *Refusal) Error() string { return r.Message + " " + r.Remedy }

// Status is the HTTP status that says the same.
func (r *Refusal) Status() int {
	switch r.Reason {
	case Limited:
		return http.StatusTooManyRequests
	case Unconfigured, Unavailable:
		return http.StatusServiceUnavailable
	case Rejected, Forbidden:
		return http.StatusForbidden
	default:
		return http.StatusUnauthorized
	}
}

const getLink = "Open the link that `moltworker up` prints when it starts, or paste the token below."

func refuse(reason Reason, agent string) *Refusal {
	r := &Refusal{Reason: reason, Remedy: getLink}
	switch reason {
	case Missing:
		r.Message = fmt.Sprintf("Agent %s opens with its gateway token.", agent)
	case Wrong:
		r.Message = fmt.Sprintf("That is not the gateway token of agent %s.", agent)
	case Expired:
		r.Message = fmt.Sprintf("The gateway token of agent %s has changed since you were last here.", agent)
	case Limited:
		r.Message = "Too many wrong tokens came from your address."
		r.Remedy = "Wait a moment, then open the link that `moltworker up` prints."
	case Unconfigured:
		r.Message = fmt.Sprintf("Agent %s has no gateway token yet.", agent)
		r.Remedy = "Set one with `moltworker secret put MOLTBOT_GATEWAY_TOKEN`, or restart `moltworker up` to have one made."
	}
	return r
}

// NotSignedIn refuses somebody without a sign-in where one is needed.
func NotSignedIn() *Refusal {
	return &Refusal{Reason: SignedOut, Message: "Sign in to go on.",
		Remedy: "Open /_admin/ in a browser, or send a service token as `Authorization: Bearer TOKEN`."}
}

// NotAllowed refuses a caller who is known, but may not do what scope names.
func NotAllowed(p Principal, scope Scope) *Refusal {
	r := &Refusal{Reason: Forbidden, Message: fmt.Sprintf("This needs the scope %s.", scope),
		Remedy: "Use a service token that has it, or sign in at /_admin/.", Detail: p.String()}
	if p.Kind == KindHolder {
		r.Message = "A gateway token opens its agent only."
	}
	return r
}
