package server

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/access/cfaccess"
	"github.com/moltworker/moltworker/internal/access/oidc"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/admin/debug"
	"github.com/moltworker/moltworker/internal/admin/metrics"
	"github.com/moltworker/moltworker/internal/admin/web"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/page"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/signin"
	"github.com/moltworker/moltworker/internal/store"
)

// control is the control plane: who may come in, what they may do, and the record
// of it.
type control struct {
	s        *server
	db       *store.DB
	audit    *audit.Log
	accounts *accounts.Accounts
	guard    *access.Guard
	plane    *admin.Plane
	pages    http.Handler  // for the edge
	api      http.Handler  // of the same, for whoever is known already
	pairing  chan struct{} // bounds the devices that are being paired unasked
}

// newControl makes the control plane. ctx ends what its pages keep open.
func (s *server) newControl(ctx context.Context) (c *control, err error) {
	c = &control{s: s, pairing: make(chan struct{}, 8)}
	if c.db, err = store.Open(ctx, filepath.Join(s.cfg.Data, store.FileName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.db.Close())
		}
	}()
	c.audit = audit.New(c.db, time.Now)
	c.audit.Redact = s.secrets.redactor.Redact
	c.audit.Failed = func(err error) { s.log.Error("cannot record what was denied", "err", err) }
	if c.accounts, err = accounts.New(accounts.Options{DB: c.db, Audit: c.audit, RPName: "moltworker"}); err != nil {
		return nil, err
	}
	if c.guard, err = c.newGuard(); err != nil {
		return nil, err
	}
	var backups admin.Backups
	if s.safe != nil {
		backups = s.safe
	}
	c.plane = admin.New(admin.Options{
		Backups: backups, Models: s.models.forPlane(),
		Agents: admin.Fleet(s.fleet), Secrets: s.secrets.store, Store: c.db, Audit: c.audit, Version: Version(), Log: s.log,
		Create: s.create, Remove: s.remove,
		SecretChanged: s.secretChanged,
		Configured:    s.secrets.configured,
		TokenName:     tokenName,
		Token:         s.secrets.token,
		Link:          s.link,
		Redact:        s.secrets.redactor.Redact,
		AutoPair:      s.cfg.AutoPair,
		BootTimeout:   s.cfg.BootTimeout,
	})
	return c, c.mount(ctx)
}

// newGuard joins the ways to establish who calls.
func (c *control) newGuard() (*access.Guard, error) {
	cfg := c.s.cfg
	others := []access.Authenticator{c.accounts.ServiceTokens()}
	if cfg.AccessTeamDomain != "" {
		known, err := cfaccess.New(cfaccess.Options{
			TeamDomain: cfg.AccessTeamDomain, Audience: cfg.AccessAudience, Allow: cfg.AccessAllow,
			Log: c.s.log.With("part", "access"),
		})
		if err != nil {
			return nil, err
		}
		others = append(others, known)
	}
	others = append(others, c.accounts.Sessions())
	if cfg.DevMode {
		others = append(others, access.Developer())
	}
	return access.NewGuard(access.NewTokens(c.s.secrets.token, time.Now), others...), nil
}

// mount joins the skins of the control plane into one.
func (c *control) mount(ctx context.Context) error {
	s := c.s
	provider, err := c.newProvider(ctx)
	if err != nil {
		return err
	}
	people := http.NewServeMux()
	enter := signin.Handler(signin.Options{
		Accounts: c.accounts, OIDC: provider, AccessConfigured: s.cfg.AccessTeamDomain != "", Log: s.log.With("part", "signin"),
	})
	for _, path := range []string{signin.Path, signin.Path + "/", "/_admin/setup", "/_admin/invite", "/_admin/recover",
		signin.OutPath, signin.AccountPath, signin.AccountPath + "/"} {
		people.Handle(path, enter)
	}
	people.Handle("/_admin/static/", page.Static())
	people.Handle("/_admin/", web.Handler(c.plane, web.Options{
		Version: Version(), Log: s.log.With("part", "admin"), SleepAfter: s.cfg.SleepAfter,
		Open: c.open, Audit: c.audit, Stopping: ctx,
	}))
	programs := http.NewServeMux()
	users := signin.API(signin.APIOptions{Accounts: c.accounts, Link: s.origin.plane, Log: s.log.With("part", "signin")})
	for _, path := range []string{"/api/admin/users", "/api/admin/users/", "/api/admin/service-tokens", "/api/admin/service-tokens/"} {
		programs.Handle(path, users)
	}
	programs.Handle("/", api.Handler(c.plane, s.log))
	c.api = programs

	all := http.NewServeMux()
	all.Handle("/_admin/", forPeople(people))
	all.Handle("/_admin", http.RedirectHandler("/_admin/", http.StatusSeeOther))
	all.Handle("/api/", programs)
	all.Handle("/metrics", metrics.Handler(c.plane, s.log.With("part", "metrics")))
	all.Handle("/debug/", debug.Handler(c.plane, debug.Options{
		Enabled: s.cfg.DebugRoutes, Log: s.log.With("part", "debug"), DevMode: s.cfg.DevMode,
		AccessTeamDomain: s.cfg.AccessTeamDomain, AccessAudience: s.cfg.AccessAudience != "", NodeVersion: runtime.NodeVersion,
	}))
	c.pages = c.accounts.Renewing(all, func(err error) { s.log.Warn("cannot renew a session", "err", err) })
	return nil
}

// newProvider is the OpenID Connect provider, or nil.
func (c *control) newProvider(ctx context.Context) (signin.Provider, error) {
	cfg := c.s.cfg
	if cfg.OIDCIssuer == "" {
		return nil, nil
	}
	hush, _ := c.s.secrets.lookup("MOLTWORKER_OIDC_CLIENT_SECRET")
	return oidc.New(ctx, oidc.Options{
		Issuer: cfg.OIDCIssuer, ClientID: cfg.OIDCClientID, ClientSecret: secret.NewValue(hush), Allow: cfg.OIDCAllow,
		RedirectURL: func(r *http.Request) string {
			scheme := "http://"
			if access.At(r.Context()).Secure {
				scheme = "https://"
			}
			return scheme + r.Host + signin.Path + "/oidc/callback"
		},
		Log: c.s.log.With("part", "oidc"),
	})
}

// forPeople keeps services from the pages, whose parts do not all ask for a scope.
func forPeople(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who := access.From(r.Context()); who.Kind == access.KindService {
			page.Guard(w.Header())
			http.Error(w, "These pages are for people. Programs use /api/admin/.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// open is where a browser opens an agent. Somebody with a session takes that along
// to the agent's own host; others get a link with the token.
func (c *control) open(ctx context.Context, name string) (string, error) {
	a, ok := c.s.fleet.Agent(name)
	if !ok {
		return "", errors.New("there is no such agent")
	}
	name = a.Name()
	who := access.From(ctx)
	if !who.Opens(name) {
		return "", access.NotAllowed(who, access.UseAgents)
	}
	if who.Session == "" {
		return c.s.link(name), nil
	}
	ticket, err := c.accounts.Ticket(ctx, who, name)
	if err != nil {
		return "", err
	}
	return c.s.origin.agent(name) + "/_moltworker/enter?ticket=" + ticket, nil
}

// enter exchanges a ticket at an agent's own host.
func (c *control) enter(w http.ResponseWriter, r *http.Request, at access.Place, ticket string) error {
	return c.accounts.Redeem(r.Context(), ticket, at.Agent, w, at)
}

// refused is told that an agent's gateway turned a client away. One that is to be
// paired is, when somebody who has signed in is behind it.
func (c *control) refused(who access.Principal, name, code, requestID string) {
	if c.s.cfg.DevMode {
		who = access.Principal{Kind: access.KindDeveloper, Via: access.ViaDevMode}
	}
	if requestID == "" || who.Kind != access.KindPerson && who.Kind != access.KindDeveloper || !c.s.cfg.AutoPair && !c.s.cfg.DevMode {
		return
	}
	select {
	case c.pairing <- struct{}{}:
	default:
		return // it waits, as others do
	}
	go func() {
		defer func() { <-c.pairing }()
		ctx, cancel := context.WithTimeout(access.With(c.s.running, who, access.Place{Agent: name}), time.Minute)
		defer cancel()
		if _, err := c.plane.AutoPair(ctx, name, requestID); err != nil {
			c.s.log.Warn("a browser that is signed in was not paired", "agent", name, "code", code, "who", who.String(), "err", err)
		}
	}()
}

// denied records a request that was refused for the credentials that it carried.
func (c *control) denied(r *http.Request, at access.Place, refusal *access.Refusal) {
	switch refusal.Reason {
	case access.Missing, access.SignedOut, access.Expired, access.Unconfigured:
		return // nobody claimed anything
	}
	c.s.log.Debug("denied", "reason", refusal.Reason, "from", at.Client, "path", r.URL.Path, "detail", refusal.Detail)
	e := audit.By(access.With(r.Context(), access.Principal{}, at))
	e.Action, e.Agent, e.Target, e.Detail = "access.denied", at.Agent, r.URL.Path, string(refusal.Reason)
	if refusal.Detail != "" {
		e.Detail += ": " + refusal.Detail
	}
	c.audit.Denied(r.Context(), e)
}

// run keeps the record until ctx ends.
func (c *control) run(ctx context.Context) error { return c.audit.Run(ctx) }

// welcome tells the person at the console where to sign in, and how the first
// time.
func (c *control) welcome(ctx context.Context) error {
	token, err := c.accounts.SetupLink(ctx)
	if err != nil {
		return err
	}
	c.s.con.controlPlane(c.s.origin.plane("/_admin/"))
	if token != "" && !c.s.cfg.DevMode {
		c.s.con.setup(c.s.origin.plane(signin.LinkPath(accounts.Setup, token)))
	}
	return nil
}
