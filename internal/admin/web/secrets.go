package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/page"
)

type secretsView struct {
	Secrets []secretView
	Agents  []string
	Old     int // of which the age is a reason to act
}

type secretView struct {
	admin.SecretInfo
	Tone, Word string // of its age
	Sealed     bool   // kept by us, so it can be changed and removed here
}

func (s *site) secrets(w http.ResponseWriter, r *http.Request) error {
	list, err := s.plane.Secrets(r.Context())
	if err != nil {
		return err
	}
	c, err := s.choose(r)
	if err != nil {
		return err
	}
	v := &secretsView{Agents: c.Agents}
	for _, info := range list {
		sv := viewSecret(info)
		if sv.Tone == "warn" || sv.Tone == "bad" {
			v.Old++
		}
		v.Secrets = append(v.Secrets, sv)
	}
	s.pages.Write(w, r, http.StatusOK, "secrets.html", page.View{Title: "Secrets", Area: "secrets", Data: v})
	return nil
}

func viewSecret(info admin.SecretInfo) secretView {
	v := secretView{SecretInfo: info, Sealed: info.From == "store"}
	switch info.State {
	case admin.AgeOld:
		v.Tone, v.Word = "warn", "rotate soon"
	case admin.AgeOverdue:
		v.Tone, v.Word = "bad", "rotate now"
	case admin.AgeFine:
		v.Tone, v.Word = "good", "fine"
	default:
		v.Word = "age unknown"
	}
	return v
}

func (s *site) putSecret(w http.ResponseWriter, r *http.Request) error {
	name, value := strings.TrimSpace(r.PostFormValue("name")), r.PostFormValue("value")
	err := s.act(r, func(ctx context.Context) error { return s.plane.PutSecret(ctx, name, value) })
	return back(w, r, "/_admin/secrets", err, "%s is sealed.", name)
}

func (s *site) removeSecret(w http.ResponseWriter, r *http.Request) error {
	name := r.PostFormValue("name")
	err := s.act(r, func(ctx context.Context) error { return s.plane.RemoveSecret(ctx, name) })
	return back(w, r, "/_admin/secrets", err, "%s is removed.", name)
}

func (s *site) rotate(w http.ResponseWriter, r *http.Request) error {
	name := r.PostFormValue("agent")
	var came admin.Rotation
	err := s.act(r, func(ctx context.Context) (err error) {
		came, err = s.plane.RotateToken(ctx, name)
		return err
	})
	if err != nil {
		return back(w, r, "/_admin/secrets", err, "")
	}
	return back(w, r, "/_admin/secrets", nil, "%s", came.Message)
}
