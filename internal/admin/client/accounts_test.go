package client_test

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/signin"
	"github.com/moltworker/moltworker/internal/store"
)

// What `moltworker user` and `service-token` ask arrives, and so do the answers.
func TestAccountsOverTheSocket(t *testing.T) {
	data := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(data, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	kept, err := accounts.New(accounts.Options{DB: db, Audit: audit.New(db, time.Now), RPName: "moltworker"})
	if err != nil {
		t.Fatal(err)
	}
	api := signin.API(signin.APIOptions{Accounts: kept, Link: func(path string) string { return "https://bot.example.com" + path }, Log: slog.New(slog.DiscardHandler)})
	listener, err := net.Listen("unix", client.SocketPath(data))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner := access.Principal{Kind: access.KindOwner, Name: "root", Via: access.ViaSocket}
		api.ServeHTTP(w, r.WithContext(access.With(r.Context(), owner, access.Place{})))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	c, ctx := client.New(data), t.Context()
	made, err := c.InviteUser(ctx)
	if err != nil || !strings.HasPrefix(made.Link, "https://bot.example.com/_admin/invite#") || made.Until.IsZero() {
		t.Errorf("invite: %+v, %v", made, err)
	}
	if people, err := c.Users(ctx); err != nil || len(people) != 0 {
		t.Errorf("users: %v, %v", people, err)
	}
	var refused *admin.Error
	for name, err := range map[string]error{"disable": c.DisableUser(ctx, "no/body"), "remove": c.RemoveUser(ctx, "no body?")} {
		if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.RecoverUser(ctx, "nobody"); !errors.As(err, &refused) || refused.Kind != "not_found" {
		t.Errorf("recover: %v", err)
	}
	token, err := c.CreateServiceToken(ctx, "ci", "agents:*", "90d")
	if err != nil || !strings.HasPrefix(token.Token, access.ServicePrefix) || token.Name != "ci" || token.Expires.IsZero() {
		t.Errorf("create: %+v, %v", token, err)
	}
	if tokens, err := c.ServiceTokens(ctx); err != nil || len(tokens) != 1 || tokens[0].ID != token.ID {
		t.Errorf("list: %+v, %v", tokens, err)
	}
	if err := c.RemoveServiceToken(ctx, "ci"); err != nil {
		t.Error(err)
	}
}
