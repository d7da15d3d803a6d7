package signin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/moltworker/moltworker/internal/access/accounts"
)

// APIOptions are what the API is about.
type APIOptions struct {
	Accounts *accounts.Accounts
	// Link turns a path of the control plane into the address that people open.
	Link func(path string) string
	Log  *slog.Logger
}

// API serves /api/admin/users and /api/admin/service-tokens. Who may do what,
// accounts decides by the caller in the context.
func API(opts APIOptions) http.Handler {
	a, mux := opts.Accounts, http.NewServeMux()
	p := &pages{Options: Options{Accounts: a, Log: opts.Log}}
	handle := func(pattern string, status int, h func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			v, err := h(r)
			if err != nil {
				code, kind, message, how := p.words(w, r, err)
				writeJSON(w, code, failure{failed{kind, message, how}})
				return
			}
			if v == nil {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			writeJSON(w, status, v)
		})
	}
	invite := func(r *http.Request) (any, error) {
		token, until, err := a.Invite(r.Context())
		return accounts.Invitation{Link: opts.Link(LinkPath(accounts.Invite, token)), Until: until}, err
	}
	handle("GET /api/admin/users", http.StatusOK, func(r *http.Request) (any, error) {
		people, err := a.People(r.Context())
		return map[string][]accounts.Person{"users": people}, err
	})
	handle("POST /api/admin/users", http.StatusCreated, invite)
	handle("POST /api/admin/users/invite", http.StatusCreated, invite)
	handle("POST /api/admin/users/{name}/recover", http.StatusCreated, func(r *http.Request) (any, error) {
		token, until, err := a.Recovery(r.Context(), r.PathValue("name"))
		return accounts.Invitation{Link: opts.Link(LinkPath(accounts.Recover, token)), Until: until}, err
	})
	handle("POST /api/admin/users/{name}/disable", http.StatusNoContent, func(r *http.Request) (any, error) {
		return nil, a.Disable(r.Context(), r.PathValue("name"))
	})
	handle("DELETE /api/admin/users/{name}", http.StatusNoContent, func(r *http.Request) (any, error) {
		return nil, a.Remove(r.Context(), r.PathValue("name"))
	})
	handle("GET /api/admin/service-tokens", http.StatusOK, func(r *http.Request) (any, error) {
		tokens, err := a.ListServiceTokens(r.Context())
		return map[string][]accounts.ServiceToken{"serviceTokens": tokens}, err
	})
	handle("POST /api/admin/service-tokens", http.StatusCreated, func(r *http.Request) (any, error) {
		var asked struct{ Name, Scopes, Expires string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				return nil, err
			}
			return nil, badRequest(`want {"name", "scopes", "expires"}`)
		}
		life, err := accounts.ParseLife(asked.Expires)
		if err != nil {
			return nil, err
		}
		made, token, err := a.CreateServiceToken(r.Context(), asked.Name, asked.Scopes, life)
		return accounts.CreatedToken{ServiceToken: made, Token: token}, err
	})
	handle("DELETE /api/admin/service-tokens/{name}", http.StatusNoContent, func(r *http.Request) (any, error) {
		return nil, a.RemoveServiceToken(r.Context(), r.PathValue("name"))
	})
	return mux
}
