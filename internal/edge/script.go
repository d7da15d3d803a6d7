package edge

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Two scripts of ours are added to OpenClaw's page, as one. The page's own policy
// allows scripts of its origin.
//
// The first is because OpenClaw's page tells a browser that waits for its pairing
// to run `openclaw devices approve`, which exists only inside the sandbox, and it
// builds that command itself: no field of the protocol changes it. The script
// shows the command that works here. The second says when somebody is at the page;
// see presence.go.

//go:embed page/pairing.js
var pairingScript string

//go:embed page/presence.js
var presenceScript string

const scriptTag = `<script src="` + scriptPath + `" defer></script>`

// script answers with the scripts. They carry the agent's name.
func (e *Edge) script(w http.ResponseWriter, r *http.Request, v visit) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		noSuchRoute(w, r)
		return
	}
	suffix := strings.TrimPrefix(approveCommand("", v.agent), approveCommand("", mainAgent))
	ownHeaders(w.Header())
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = fmt.Fprintf(w, pairingScript, strconv.Quote(suffix)) // a DNS label: safe in both languages
	_, _ = fmt.Fprintf(w, presenceScript, presenceCookie, presenceLife, wakePath)
}

// wantsScript says whether the answer to a request may be OpenClaw's page.
func wantsScript(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method == http.MethodGet && isNavigation(r) && (dest == "" || dest == "document")
}

// addScript appends our scripts to OpenClaw's page. Parsers put what follows the end
// of a document into its body, so nothing of the page has to be understood. Pages
// whose policy does not allow it, and all other answers, stay as they are.
func addScript(resp *http.Response) {
	h := resp.Header
	switch {
	case resp.StatusCode != http.StatusOK, resp.Request == nil, !wantsScript(resp.Request),
		!strings.HasPrefix(h.Get("Content-Type"), "text/html"), h.Get("Content-Encoding") != "",
		!strings.Contains(h.Get("Content-Security-Policy"), "script-src 'self'"):
		return
	}
	if resp.ContentLength >= 0 {
		resp.ContentLength += int64(len(scriptTag))
		h.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	h.Del("Accept-Ranges")
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(resp.Body, strings.NewReader(scriptTag)), resp.Body}
}
