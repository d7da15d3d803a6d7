package accounts

import (
	"context"
	"crypto/subtle"
	"errors"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
)

// A service token is the prefix, 40 random letters and digits, and 6 that check
// them: what was cut or mistyped is told from what is wrong, without asking the
// database.
const (
	tokenLetters = 40
	checkLetters = 6

	// servicePublic begins a token's public ID, which is no secret.
	servicePublic  = "mwc_"
	publicLetters  = 16
	maxServices    = 200
	maxServiceLife = 10 * 365 * 24 * time.Hour
)

// Headers of a service token in Cloudflare Access's fashion.
const (
	clientIDHeader     = "CF-Access-Client-Id"
	clientSecretHeader = "CF-Access-Client-Secret"
)

// A ServiceToken is a program's way in, as people see it.
type ServiceToken struct {
	ID      string         `json:"id"` // public
	Name    string         `json:"name"`
	Scopes  []access.Scope `json:"scopes"`
	By      string         `json:"by"`
	Created time.Time      `json:"created"`
	Expires time.Time      `json:"expires,omitzero"` // zero: never
	Used    time.Time      `json:"used,omitzero"`    // zero: not yet
	Expired bool           `json:"expired"`
}

// CreatedToken is a token that was just made, with its value, which is told this once.
type CreatedToken struct {
	ServiceToken
	Token string `json:"token"`
}

// CreateServiceToken makes a token that may do what the scopes say for as long as
// life says; 0 means until it is removed. The token is told this once.
func (a *Accounts) CreateServiceToken(ctx context.Context, name, scopes string, life time.Duration) (made ServiceToken, token string, err error) {
	if err := mayManage(ctx); err != nil {
		return made, "", err
	}
	if err := checkName(name); err != nil {
		return made, "", err
	}
	parsed, err := access.ParseScopes(scopes)
	if err != nil {
		return made, "", invalid(err.Error(), "name one or more of them, with commas between")
	}
	if life < 0 || life > maxServiceLife {
		return made, "", invalid("a token cannot live that long", "give it a time like 90d, or none at all")
	}
	token = newServiceToken()
	row := store.ServiceToken{ID: servicePublic + randomLetters(publicLetters), Name: name, Hash: hashOf(token),
		Scopes: joinScopes(parsed), By: access.From(ctx).String(), Created: a.now()}
	if life > 0 {
		row.Expires = row.Created.Add(life)
	}
	if err := a.db.AddServiceToken(ctx, row, maxServices); err != nil {
		return made, "", explain(err, "service token "+name)
	}
	return a.serviceToken(row), token, a.note(ctx, audit.Event{Action: "service-token.create", Target: name, New: row.Scopes})
}

// ListServiceTokens lists them all.
func (a *Accounts) ListServiceTokens(ctx context.Context) ([]ServiceToken, error) {
	if err := mayManage(ctx); err != nil {
		return nil, err
	}
	rows, err := a.db.ServiceTokens(ctx)
	if err != nil {
		return nil, err
	}
	tokens := make([]ServiceToken, 0, len(rows))
	for _, row := range rows {
		tokens = append(tokens, a.serviceToken(row))
	}
	return tokens, nil
}

// RemoveServiceToken makes a token useless at once.
func (a *Accounts) RemoveServiceToken(ctx context.Context, name string) error {
	if err := mayManage(ctx); err != nil {
		return err
	}
	if err := a.db.RemoveServiceToken(ctx, name); err != nil {
		return explain(err, "service token "+name)
	}
	a.recheck()
	return a.note(ctx, audit.Event{Action: "service-token.remove", Target: name})
}

func (a *Accounts) serviceToken(row store.ServiceToken) ServiceToken {
	return ServiceToken{ID: row.ID, Name: row.Name, Scopes: splitScopes(row.Scopes), By: row.By, Created: row.Created,
		Expires: row.Expires, Used: row.Used, Expired: a.expired(row)}
}

func (a *Accounts) expired(row store.ServiceToken) bool {
	return !row.Expires.IsZero() && !a.now().Before(row.Expires)
}

func joinScopes(scopes []access.Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, ",")
}

func splitScopes(list string) []access.Scope {
	var scopes []access.Scope
	for word := range strings.SplitSeq(list, ",") {
		scopes = append(scopes, access.Scope(word))
	}
	return scopes
}

func newServiceToken() string {
	body := randomLetters(tokenLetters)
	return access.ServicePrefix + body + checkOf(body)
}

// checkOf is a checksum in base62.
func checkOf(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	out := make([]byte, checkLetters)
	for i := range out {
		out[checkLetters-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(out)
}

// wellFormed says whether a text can be a service token at all.
func wellFormed(token string) bool {
	body, ok := strings.CutPrefix(token, access.ServicePrefix)
	return ok && len(body) == tokenLetters+checkLetters && checkOf(body[:tokenLetters]) == body[tokenLetters:]
}

// ServiceTokens authenticates programs by their tokens.
func (a *Accounts) ServiceTokens() access.Authenticator { return byService{a} }

type byService struct{ *Accounts }

// Authenticate establishes which program calls. Wrong tokens lock their address
// out of being told anything but that; a right one is heard nevertheless, as none
// can be guessed and a broken program must not silence its neighbours.
func (b byService) Authenticate(r *http.Request, at access.Place) (access.Principal, error) {
	token, id, source := shownToken(r)
	if token == "" {
		return access.Principal{}, access.ErrNothing
	}
	row, why, err := b.checkService(r.Context(), token, id)
	if err != nil {
		return access.Principal{}, &access.Refusal{Reason: access.Unconfigured, Detail: err.Error(), Final: true,
			Message: "The list of service tokens cannot be read.", Remedy: "Look at moltworker's log."}
	}
	if why == "" {
		return access.Principal{Kind: access.KindService, Name: row.Name, Via: access.ViaService, Source: source, Scopes: splitScopes(row.Scopes)}, nil
	}
	address, free := addressKey(at.Client)
	if _, wait, ok := b.programs.take("token "+address, free); !ok {
		return access.Principal{}, limited(wait)
	}
	refused := &access.Refusal{Reason: access.Wrong, Final: true, Detail: why, Message: "That service token lets nobody in.",
		Remedy: "See `moltworker service-token ls` on the host for those there are, and make a new one with `moltworker service-token create`."}
	return access.Principal{}, refused
}

// checkService finds the token; why says what is wrong with it, for the owner.
func (b byService) checkService(ctx context.Context, token, id string) (row store.ServiceToken, why string, err error) {
	if !wellFormed(token) {
		return row, "the service token is cut or mistyped", nil
	}
	row, err = b.db.ServiceTokenByValue(ctx, hashOf(token))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return row, "no such service token", nil
	case err != nil:
		return row, "", err
	case id != "" && subtle.ConstantTimeCompare([]byte(id), []byte(row.ID)) != 1:
		return row, "the service token's ID is another's", nil
	case b.expired(row):
		return row, "the service token has expired", nil
	}
	if now := b.now(); now.Sub(row.Used) >= noteEvery {
		err = b.db.UseServiceToken(ctx, row.ID, now)
	}
	return row, "", err
}

// shownToken finds a service token of ours in a request. Other bearers belong to
// the gateway, and other client IDs to a Cloudflare Access in front.
func shownToken(r *http.Request) (token, id string, source access.Source) {
	scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if bearer = strings.TrimSpace(bearer); strings.EqualFold(scheme, "Bearer") && strings.HasPrefix(bearer, access.ServicePrefix) {
		return bearer, "", access.SourceBearer
	}
	id = r.Header.Get(clientIDHeader)
	if token = r.Header.Get(clientSecretHeader); token != "" && strings.HasPrefix(id, servicePublic) {
		return token, id, access.SourceHeader
	}
	return "", "", access.SourceNone
}

// ParseLife reads how long a token is good for: days like 90d, what
// [time.ParseDuration] reads, or "" and "never" for 0, until it is removed.
func ParseLife(text string) (time.Duration, error) {
	if text == "" || text == "never" {
		return 0, nil
	}
	life, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		life = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || life <= 0 || life > maxServiceLife {
		return 0, invalid("a token cannot live for "+strconv.Quote(text), "write it like 90d or 12h, at most 3650d; or never")
	}
	return life, nil
}
