package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/page"
)

const (
	maxForm  = 256 << 10        // bytes of a form
	maxDoing = 32               // actions under way at once
	patience = 25 * time.Second // how long a browser waits for an action
	longest  = 15 * time.Minute // most actions
)

// errUnderWay: an action takes longer than a browser should wait; it goes on.
var errUnderWay = errors.New("still under way")

// tooMuch is the kind of the refusal of something that was not begun.
const tooMuch = "too_much_under_way"

// act does something that must not stop halfway because a browser went away, and
// waits for it a while.
func (s *site) act(r *http.Request, do func(context.Context) error) error {
	return s.within(r, longest, do)
}

// within is act for what may take longer than most.
func (s *site) within(r *http.Request, limit time.Duration, do func(context.Context) error) error {
	select {
	case s.doing <- struct{}{}:
	default:
		return &admin.Error{Status: http.StatusServiceUnavailable, Kind: tooMuch, Message: "Too much is under way already.", Remedy: "Try again in a moment."}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), limit)
	stop := context.AfterFunc(s.Stopping, cancel)
	done := make(chan error, 1)
	go func() {
		defer func() { stop(); cancel(); <-s.doing }()
		err := do(ctx)
		if err != nil {
			s.Log.Warn("admin action failed", "route", r.Pattern, "err", err)
		}
		done <- err
	}()
	wait := time.NewTimer(s.patient)
	defer wait.Stop()
	select {
	case err := <-done:
		return err
	case <-wait.C:
	case <-r.Context().Done():
	}
	return errUnderWay
}

// back ends an action with what came of it, on the page at path.
func back(w http.ResponseWriter, r *http.Request, path string, err error, format string, args ...any) error {
	f := page.Flash{Text: fmt.Sprintf(format, args...)}
	switch {
	case errors.Is(err, errUnderWay):
		f = page.Flash{Text: "This takes a while and is still under way.", Remedy: "The page shows what has become of it; Audit has the rest."}
	case err != nil:
		e := admin.AsError(err)
		f = page.Flash{Bad: true, Text: e.Message, Remedy: e.Remedy}
	}
	page.Back(w, r, path, f)
	return nil
}

// origin is the page that an agent's button was on: one of ours, whatever the
// request says.
func origin(r *http.Request) string {
	switch r.PostFormValue("from") {
	case "agents":
		return "/_admin/agents"
	case "gateway":
		return "/_admin/gateway"
	}
	return "/_admin/"
}
