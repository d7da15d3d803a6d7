package accounts

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
)

const (
	stepLife    = 5 * time.Minute
	maxPasskeys = 20   // per person
	maxSpent    = 4096 // challenges answered rightly within stepLife
)

// purposes of a step.
const (
	toSignIn = "sign-in"
	toEnroll = "enroll"
	toAdd    = "add"
)

// step is what a browser keeps for us, sealed, while its authenticator works.
type step struct {
	Purpose string
	Data    webauthn.SessionData
	Until   time.Time
	Person  string   // ID, of an existing or a future one
	Name    string   // of that person
	Kind    LinkKind // toEnroll: by which kind of link
	Link    []byte   // toEnroll: hash of its token
	Session string   // toAdd: of whom
}

// PasskeysWork says whether browsers offer passkeys where a request arrived: at a
// host name, not an address, over TLS or on this very machine.
func PasskeysWork(r *http.Request) bool {
	at := access.At(r.Context())
	local := at.Host == "localhost" || strings.HasSuffix(at.Host, ".localhost")
	return protocol.ValidateRPID(at.Host) == nil && (at.Secure || local)
}

// relyingParty is the one that passkeys are made for and shown to here: the host
// name asked for, and exactly the origin that the request came to.
func (a *Accounts) relyingParty(r *http.Request) (*webauthn.WebAuthn, error) {
	if !PasskeysWork(r) {
		return nil, invalid("passkeys do not work at this address", "open a host name over HTTPS, or http://localhost, instead of an IP address; or use a password")
	}
	at := access.At(r.Context())
	origin := "http://"
	if at.Secure {
		origin = "https://"
	}
	origin += at.Host
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		origin += ":" + port
	}
	party, err := webauthn.New(&webauthn.Config{
		RPID: at.Host, RPDisplayName: a.rpName, RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("set up passkeys for %s: %w", at.Host, err)
	}
	return party, nil
}

// owner is a person as the library wants to see them.
type owner struct {
	id, name string
	keys     []webauthn.Credential
}

func (o owner) WebAuthnID() []byte                         { return []byte(o.id) }
func (o owner) WebAuthnName() string                       { return o.name }
func (o owner) WebAuthnDisplayName() string                { return o.name }
func (o owner) WebAuthnCredentials() []webauthn.Credential { return o.keys }

// BeginPasskey returns what the browser needs to ask for a passkey to sign in with.
func (a *Accounts) BeginPasskey(w http.ResponseWriter, r *http.Request) (any, error) {
	party, err := a.relyingParty(r)
	if err != nil {
		return nil, err
	}
	options, data, err := party.BeginDiscoverableLogin()
	if err != nil {
		return nil, fmt.Errorf("ask for a passkey: %w", err)
	}
	return options, a.keepStep(w, r, step{Purpose: toSignIn, Data: *data})
}

// FinishPasskey signs in the person whose passkey has answered, or returns a
// [*access.Refusal].
func (a *Accounts) FinishPasskey(w http.ResponseWriter, r *http.Request, answer []byte) error {
	ctx := r.Context()
	party, err := a.relyingParty(r)
	if err != nil {
		return err
	}
	address, free := addressKey(access.At(ctx).Client)
	undo, wait, ok := a.programs.take("passkey "+address, free)
	if !ok {
		return limited(wait)
	}
	st, err := a.takeStep(w, r, toSignIn)
	if err != nil {
		undo()
		return err
	}
	person, before, after, err := a.checkPasskey(ctx, party, st, answer)
	if err != nil {
		return a.denied(ctx, access.ViaPasskey, person.Name, err.Error(), wrongSignIn())
	}
	if err := a.spend(st.Data.Challenge); err != nil {
		return a.denied(ctx, access.ViaPasskey, person.Name, err.Error(), wrongSignIn())
	}
	err = a.db.UsePasskey(ctx, before.ID, before.Credential, after, a.now())
	if errors.Is(err, store.ErrNotFound) {
		return a.denied(ctx, access.ViaPasskey, person.Name, "the passkey was used elsewhere at the same time", wrongSignIn())
	}
	if err != nil {
		return err
	}
	undo()
	return a.admit(w, r, person, access.ViaPasskey)
}

// checkPasskey verifies an answer. The error, for records, says what is wrong.
func (a *Accounts) checkPasskey(ctx context.Context, party *webauthn.WebAuthn, st step, answer []byte) (p store.Person, before store.Passkey, after []byte, err error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return p, before, nil, fmt.Errorf("read the passkey's answer: %w", err)
	}
	find := func(id, handle []byte) (webauthn.User, error) {
		if before, err = a.db.Passkey(ctx, id); err != nil {
			return nil, err
		}
		if p, err = a.db.Person(ctx, before.Person); err != nil {
			return nil, err
		}
		if !p.Disabled.IsZero() || before.RP != party.Config.RPID {
			return nil, errors.New("the passkey's person is disabled, or it belongs to another host")
		}
		var c webauthn.Credential
		if err := json.Unmarshal(before.Credential, &c); err != nil {
			return nil, fmt.Errorf("read the passkey: %w", err)
		}
		return owner{p.ID, p.Name, []webauthn.Credential{c}}, nil
	}
	_, c, err := party.ValidatePasskeyLogin(find, st.Data, parsed)
	if err != nil {
		return p, before, nil, fmt.Errorf("the passkey's answer: %w", detail(err))
	}
	if c.Authenticator.CloneWarning {
		return p, before, nil, errors.New("the passkey's counter went back: there may be a copy of it")
	}
	after, err = json.Marshal(c)
	return p, before, after, err
}

// detail brings out what the library says only on request.
func detail(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.DevInfo != "" {
		return fmt.Errorf("%s (%s)", e.Details, e.DevInfo)
	}
	return err
}

// BeginEnroll returns what the browser needs to make a passkey for whom a link
// lets in.
func (a *Accounts) BeginEnroll(w http.ResponseWriter, r *http.Request, l Link, name string) (any, error) {
	p := a.newPerson(l, name)
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	if err := a.nameIsFree(r.Context(), l, p.Name); err != nil {
		return nil, err
	}
	return a.beginMaking(w, r, step{Purpose: toEnroll, Person: p.ID, Name: p.Name, Kind: l.Kind, Link: hashOf(l.token)}, nil)
}

// FinishEnroll uses a link up with the passkey that the browser has made. keyName
// is what its owner will know it by.
func (a *Accounts) FinishEnroll(w http.ResponseWriter, r *http.Request, l Link, keyName string, answer []byte) error {
	st, key, err := a.finishMaking(w, r, toEnroll, keyName, answer)
	if err != nil {
		return err
	}
	if st.Kind != l.Kind || !bytes.Equal(st.Link, hashOf(l.token)) {
		return lateStep()
	}
	p := store.Person{ID: st.Person, Name: st.Name, Created: a.now()}
	return a.useUp(w, r, l, p, &key, access.ViaPasskey)
}

// BeginAdd returns what the browser needs to make a further passkey of the person
// who is signed in.
func (a *Accounts) BeginAdd(w http.ResponseWriter, r *http.Request) (any, error) {
	p, s, err := a.self(r.Context())
	if err != nil {
		return nil, err
	}
	keys, err := a.db.Passkeys(r.Context(), p.ID)
	if err != nil {
		return nil, err
	}
	if len(keys) >= maxPasskeys {
		return nil, explain(store.ErrFull, "passkeys")
	}
	return a.beginMaking(w, r, step{Purpose: toAdd, Person: p.ID, Name: p.Name, Session: s.ID}, keys)
}

// FinishAdd keeps the passkey that the browser has made.
func (a *Accounts) FinishAdd(w http.ResponseWriter, r *http.Request, keyName string, answer []byte) error {
	ctx := r.Context()
	p, s, err := a.self(ctx)
	if err != nil {
		return err
	}
	st, key, err := a.finishMaking(w, r, toAdd, keyName, answer)
	if err != nil {
		return err
	}
	if st.Session != s.ID || st.Person != p.ID {
		return lateStep()
	}
	if err := a.db.AddPasskey(ctx, key, maxPasskeys); err != nil {
		return explain(err, "passkeys")
	}
	return a.note(ctx, audit.Event{Action: "passkey.add", Target: p.Name, New: key.Name})
}

func (a *Accounts) beginMaking(w http.ResponseWriter, r *http.Request, st step, has []store.Passkey) (any, error) {
	party, err := a.relyingParty(r)
	if err != nil {
		return nil, err
	}
	var exclude []protocol.CredentialDescriptor
	for _, k := range has {
		if k.RP == party.Config.RPID {
			exclude = append(exclude, protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: k.ID})
		}
	}
	options, data, err := party.BeginRegistration(owner{id: st.Person, name: st.Name},
		webauthn.WithExclusions(exclude), webauthn.WithCredentialParameters(webauthn.CredentialParametersRecommendedL3()))
	if err != nil {
		return nil, fmt.Errorf("ask for a new passkey: %w", err)
	}
	st.Data = *data
	return options, a.keepStep(w, r, st)
}

func (a *Accounts) finishMaking(w http.ResponseWriter, r *http.Request, purpose, keyName string, answer []byte) (st step, key store.Passkey, err error) {
	party, err := a.relyingParty(r)
	if err != nil {
		return st, key, err
	}
	if st, err = a.takeStep(w, r, purpose); err != nil {
		return st, key, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return st, key, invalid("the browser's answer cannot be read", "try again, or use a password")
	}
	c, err := party.CreateCredential(owner{id: st.Person, name: st.Name}, st.Data, parsed)
	if err != nil {
		return st, key, invalid("the passkey was not made as it must be: "+detail(err).Error(), "try again with another device, or use a password")
	}
	if err := a.spend(st.Data.Challenge); err != nil {
		return st, key, lateStep()
	}
	c.Attestation = webauthn.CredentialAttestation{} // nobody is asked who made the authenticator
	kept, err := json.Marshal(c)
	if err != nil {
		return st, key, fmt.Errorf("keep the passkey: %w", err)
	}
	now := a.now()
	return st, store.Passkey{ID: c.ID, Person: st.Person, Name: keyNameOf(keyName, r), RP: party.Config.RPID, Credential: kept, Created: now, Used: now}, nil
}

// keyNameOf is what a passkey is listed as; by default after the browser.
func keyNameOf(name string, r *http.Request) string {
	name = strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, strings.ToValidUTF8(name, "")))
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "")
	}
	if name != "" {
		return name
	}
	for _, system := range []string{"iPhone", "iPad", "Android", "Windows", "Macintosh", "CrOS", "Linux"} {
		if strings.Contains(r.UserAgent(), system) {
			return "Passkey of " + system
		}
	}
	return "Passkey"
}

// A Passkey is one of a person's, as they see it.
type Passkey struct {
	ID      string // as it is removed by
	Name    string
	Host    string // where it works
	Created time.Time
	Used    time.Time
}

// Passkeys lists those of the person who is signed in.
func (a *Accounts) Passkeys(ctx context.Context) ([]Passkey, error) {
	p, _, err := a.self(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := a.db.Passkeys(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	keys := make([]Passkey, 0, len(rows))
	for _, k := range rows {
		keys = append(keys, Passkey{base64.RawURLEncoding.EncodeToString(k.ID), k.Name, k.RP, k.Created, k.Used})
	}
	return keys, nil
}

// RemovePasskey removes one of the passkeys of the person who is signed in, but not
// their last way in.
func (a *Accounts) RemovePasskey(ctx context.Context, id string) error {
	p, _, err := a.self(ctx)
	if err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		return explain(store.ErrNotFound, "passkey")
	}
	if err := a.db.RemovePasskey(ctx, p.ID, raw); err != nil {
		return explain(err, "passkey")
	}
	return a.note(ctx, audit.Event{Action: "passkey.remove", Target: p.Name, Old: id})
}

// keepStep has the browser keep a step for us.
func (a *Accounts) keepStep(w http.ResponseWriter, r *http.Request, st step) error {
	st.Until = a.now().Add(stepLife)
	text, err := a.seal(st)
	if err != nil {
		return err
	}
	setCookie(w, access.At(r.Context()).Secure, stepCookie, text, stepLife, http.SameSiteStrictMode)
	return nil
}

// takeStep takes back what the browser has kept.
func (a *Accounts) takeStep(w http.ResponseWriter, r *http.Request, purpose string) (st step, err error) {
	secure := access.At(r.Context()).Secure
	for text := range cookies(r, cookieName(stepCookie, secure)) {
		st = step{}
		if a.unseal(text, &st) == nil && st.Purpose == purpose && a.now().Before(st.Until) {
			setCookie(w, secure, stepCookie, "", 0, http.SameSiteStrictMode)
			return st, nil
		}
	}
	return step{}, lateStep()
}

func lateStep() error { return invalid("that took too long, or was begun elsewhere", "try again") }

// spend uses a challenge up: what has answered it rightly once is not heard again.
func (a *Accounts) spend(challenge string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	for c, until := range a.spent {
		if now.After(until) {
			delete(a.spent, c)
		}
	}
	if _, again := a.spent[challenge]; again {
		return errors.New("the answer was given before")
	}
	if len(a.spent) >= maxSpent {
		return errors.New("too many sign-ins at once")
	}
	a.spent[challenge] = now.Add(stepLife)
	return nil
}
