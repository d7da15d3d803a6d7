package oidc

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// maxDetail bounds what one refusal puts into the log, in bytes.
const maxDetail = 600

const (
	again    = "Begin again at /_admin/sign-in."
	askOwner = "Its owner finds the reason in moltworker's log."
)

func refuse(reason access.Reason, message, remedy, detail string) *access.Refusal {
	return &access.Refusal{Reason: reason, Message: message, Remedy: remedy, Detail: "OpenID Connect: " + oneLine(detail)}
}

// stale refuses a way back that belongs to no sign-in under way.
func stale(detail string) *access.Refusal {
	return refuse(access.Expired, "This sign-in was begun more than ten minutes ago, in another browser, or before moltworker restarted.", again, detail)
}

// rejected refuses an answer that is wrong in itself. What is wrong is for the log
// alone.
func rejected(detail string) *access.Refusal {
	return refuse(access.Rejected, "The sign-in from the provider does not count here.", again+" If that does not help: "+askOwner, detail)
}

func unavailable(err error) *access.Refusal {
	r := refuse(access.Unavailable, "The sign-in provider cannot be reached.",
		"Try again in a minute, or sign in another way. If it stays so: "+askOwner, fmt.Sprint(err))
	if isTimeout(err) {
		r.Message = "The sign-in provider takes too long to answer."
	}
	r.RetryAfter = maxPause
	return r
}

func limitedNow() *access.Refusal {
	r := refuse(access.Limited, "Too many people come back from the sign-in provider at once.", again, "more than the limit at once")
	r.RetryAfter = 5 * time.Second
	return r
}

func misconfigured(message, remedy, detail string) *access.Refusal {
	return refuse(access.Unavailable, message+".", remedy, detail)
}

func noAddress() *access.Refusal {
	return refuse(access.Rejected, "The sign-in provider did not tell your e-mail address.",
		"Give moltworker's client the scope email at the provider, put into the id_token; then begin again at /_admin/sign-in.", "the id_token has no e-mail address")
}

func notVerified(address string) *access.Refusal {
	return refuse(access.Rejected, fmt.Sprintf("The sign-in provider does not say that %s is yours.", address),
		"Confirm the address at the provider; or, where it never says so, have it send email_verified (see docs/sign-in.md).", "email_verified is not true for "+address)
}

func notListed(address string) *access.Refusal {
	return refuse(access.Forbidden, fmt.Sprintf("You have signed in as %s, who may not come in here.", address),
		"Sign in as somebody else, or have the owner add you to MOLTWORKER_OIDC_ALLOW.", address+" is not on the list")
}

// fromProvider is an error that the provider told by a code of OAuth 2 or OpenID
// Connect. Its description is for the log: anybody could have written it.
func fromProvider(code, description string) *access.Refusal {
	detail := fmt.Sprintf("the provider says %s: %s", quote(code), quote(description))
	switch code {
	case "access_denied":
		return refuse(access.Rejected, "The sign-in provider did not let you in, or you turned back there.", again, detail)
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return refuse(access.Rejected, "The sign-in provider wants you to sign in there first.", again, detail)
	case "temporarily_unavailable", "server_error":
		return refuse(access.Unavailable, "The sign-in provider has trouble.", "Try again in a minute, or sign in another way.", detail)
	case "invalid_client", "unauthorized_client":
		return misconfigured("The sign-in provider does not accept moltworker as its client",
			"Its owner makes sure that MOLTWORKER_OIDC_CLIENT_ID and MOLTWORKER_OIDC_CLIENT_SECRET are those that the provider gave.", detail)
	case "invalid_request", "invalid_scope", "unsupported_response_type", "unsupported_grant_type", "request_not_supported":
		return misconfigured("The sign-in provider does not do what moltworker asks of it",
			"Its owner makes sure that the client there may use authorization code, PKCE and the scopes openid, email and profile.", detail)
	}
	return refuse(access.Rejected, "The sign-in provider did not sign you in.", again+" If that does not help: "+askOwner, detail)
}

// quote is a text of others' making, short.
func quote(s string) string { return strconv.Quote(cut(s, 200)) }

func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// oneLine is a text that may hold others' texts, fit for a line of a log.
func oneLine(s string) string {
	quoted := strconv.Quote(cut(s, maxDetail))
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`), `\"`, `"`)
}
