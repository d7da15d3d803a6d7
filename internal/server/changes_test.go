package server

import (
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/store"
	"github.com/moltworker/moltworker/internal/telemetry"
)

// What is changed between two starts is on record, secrets without their values.
func TestChangedSettingsAreRecorded(t *testing.T) {
	data := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(data, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	log := audit.New(db, time.Now)
	start := func(settings ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(data, ".dev.vars"), []byte(strings.Join(settings, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Overrides{Data: data})
		if err != nil {
			t.Fatal(err)
		}
		s := &server{cfg: cfg, log: slog.New(slog.DiscardHandler)}
		if s.secrets, err = openSecrets(cfg, []string{"main"}, telemetry.NewRedactor()); err != nil {
			t.Fatal(err)
		}
		if err := (&control{s: s, audit: log}).noteStart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start("SANDBOX_SLEEP_AFTER=5m", "ANTHROPIC_API_KEY=sk-ant-first-value")
	start("SANDBOX_SLEEP_AFTER=never", "ANTHROPIC_API_KEY=sk-ant-second-value", "DEBUG_ROUTES=true")
	start("ANTHROPIC_API_KEY=sk-ant-second-value", "DEBUG_ROUTES=true")
	entries, err := log.List(t.Context(), audit.Filter{Action: "config.", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Target+": "+e.Old+" > "+e.New)
	}
	want := []string{"SANDBOX_SLEEP_AFTER: never > ", "DEBUG_ROUTES:  > true", "ANTHROPIC_API_KEY: a secret > a secret", "SANDBOX_SLEEP_AFTER: 5m > never"}
	for _, w := range want {
		if !strings.Contains(strings.Join(got, "\n"), w) {
			t.Errorf("%q is not among %q", w, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("recorded: %q", got)
	}
	kept, err := os.ReadFile(filepath.Join(data, settingsFile))
	if err != nil || strings.Contains(string(kept), "value") {
		t.Errorf("%s, %v", kept, err)
	}
}

// Somebody whom the provider vouched for stays in as long as they are on the list.
func TestWhoIsOffTheListIsSignedOut(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	people, err := accounts.New(accounts.Options{DB: db, Audit: audit.New(db, time.Now), RPName: "test"})
	if err != nil {
		t.Fatal(err)
	}
	owner := access.With(t.Context(), access.Principal{Kind: access.KindOwner}, access.Place{})
	for _, name := range []string{"ann@example.com", "bob@example.com", "eve@else.example"} {
		if err := people.Begin(owner, httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(owner), name, access.ViaOIDC); err != nil {
			t.Fatal(err)
		}
	}
	s := &server{cfg: config.Config{OIDCAllow: []string{"ann@example.com", "@else.example"}}}
	if err := (&control{s: s, accounts: people}).endStrangers(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := people.SignIns(owner)
	if err != nil || len(left) != 2 {
		t.Fatalf("%+v, %v", left, err)
	}
	for _, s := range left {
		if s.Name == "bob@example.com" {
			t.Error("Bob is still signed in")
		}
	}
}
