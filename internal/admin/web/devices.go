package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/page"
)

// chosen is which agent a page is about, and which others there are.
type chosen struct {
	Agent  string
	Agents []string
	Path   string // of the page
}

// choose finds the agent that ?agent= names: "main" or the first without one.
func (s *site) choose(r *http.Request) (chosen, error) {
	c := chosen{Agent: r.FormValue("agent"), Path: r.URL.Path}
	infos, err := s.plane.Agents(r.Context())
	if err != nil {
		return c, err
	}
	for _, info := range infos {
		c.Agents = append(c.Agents, info.Agent)
	}
	switch {
	case c.Agent != "":
	case slices.Contains(c.Agents, "main"):
		c.Agent = "main"
	case len(c.Agents) > 0:
		c.Agent = c.Agents[0]
	}
	return c, nil
}

// devicesView is the one list of devices and senders.
type devicesView struct {
	chosen
	List    admin.Devices
	Waiting int
	Problem *admin.Error // why there is no list
}

func (s *site) devices(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewDevices(r)
	if err != nil {
		return err
	}
	s.pages.Write(w, r, http.StatusOK, "devices.html", page.View{Title: "Devices", Area: "devices", Data: v})
	return nil
}

func (s *site) devicesPart(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewDevices(r)
	if err != nil {
		return err
	}
	s.pages.Part(w, r, "devices-part", v)
	return nil
}

func (s *site) viewDevices(r *http.Request) (*devicesView, error) {
	c, err := s.choose(r)
	if err != nil {
		return nil, err
	}
	v := &devicesView{chosen: c}
	if c.Agent == "" {
		return v, nil
	}
	if v.List, err = s.plane.Devices(r.Context(), c.Agent); err != nil {
		v.Problem = admin.AsError(err)
	}
	v.Waiting = len(v.List.Pending) + len(v.List.Senders)
	return v, nil
}

// device does to a device what the last part of the path says.
func (s *site) device(w http.ResponseWriter, r *http.Request) error {
	name, request, id := r.PostFormValue("agent"), r.PostFormValue("request"), r.PostFormValue("device")
	var done string
	var do func(context.Context) error
	switch r.PathValue("verb") {
	case "approve":
		done = "The device is approved."
		do = func(ctx context.Context) error {
			_, err := s.plane.ApproveDevice(ctx, name, request)
			return err
		}
	case "approve-all":
		done = "All devices that waited are approved."
		do = func(ctx context.Context) error { return s.approveAll(ctx, name) }
	case "reject":
		done = "The device is turned away."
		do = func(ctx context.Context) error { return s.plane.RejectDevice(ctx, name, request) }
	case "rename":
		done = "The device has its new name."
		label := strings.TrimSpace(r.PostFormValue("label"))
		do = func(ctx context.Context) error { return s.plane.RenameDevice(ctx, name, id, label) }
	case "revoke":
		done = "The device is revoked. Its connections are closed."
		do = func(ctx context.Context) error { return s.plane.RevokeDevice(ctx, name, id) }
	default:
		return errNoPage
	}
	return back(w, r, "/_admin/devices?agent="+url.QueryEscape(name), s.act(r, do), "%s", done)
}

// approveAll fails with the first device that could not be approved.
func (s *site) approveAll(ctx context.Context, name string) error {
	list, err := s.plane.ApproveAll(ctx, name)
	for _, a := range list {
		if a.Error != nil && err == nil {
			err = a.Error
		}
	}
	return err
}

func (s *site) sender(w http.ResponseWriter, r *http.Request) error {
	name, request := r.PostFormValue("agent"), r.PostFormValue("request")
	channel, account := r.PostFormValue("channel"), r.PostFormValue("account")
	done, do := "", s.plane.ApproveSender
	switch r.PathValue("verb") {
	case "approve":
		done = "The sender is approved."
	case "dismiss":
		done, do = "The sender is turned away.", s.plane.DismissSender
	default:
		return errNoPage
	}
	err := s.act(r, func(ctx context.Context) error { return do(ctx, name, channel, account, request) })
	return back(w, r, "/_admin/devices?agent="+url.QueryEscape(name), err, "%s", done)
}
