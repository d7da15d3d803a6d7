package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/moltworker/moltworker/internal/page"
)

// open sends the browser to an agent. A form's answer may not redirect to another
// host (form-action in the policy), so for one of those a page does it.
func (s *site) open(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("agent")
	where, err := s.Open(r.Context(), name)
	if err != nil {
		return back(w, r, origin(r), err, "")
	}
	u, err := url.Parse(where)
	if err != nil || u.Host == "" && !strings.HasPrefix(u.Path, "/") || u.Host != "" && u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("agent %s has no address that a browser can open", name)
	}
	if u.Host == "" || u.Host == r.Host {
		page.Guard(w.Header())
		http.Redirect(w, r, where, http.StatusSeeOther)
		return nil
	}
	w.Header().Set("Refresh", "0; url="+u.String())
	s.pages.Write(w, r, http.StatusOK, "open.html", page.View{Title: "Opening " + name, Plain: true, Data: u.String()})
	return nil
}
