package page

import "net/http"

// policy lets a page use files of our own and talk to its own origin, nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Guard sets the security headers of a page of ours.
func Guard(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	shield(h)
}

// shield sets what every answer of ours carries, pages and files alike.
func shield(h http.Header) {
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Not "no-referrer": with that, browsers send forms with "Origin: null", and on
	// plain HTTP there is nothing else by which edge knows a form of ours. Paths,
	// which may hold a link's secret, stay untold this way too.
	h.Set("Referrer-Policy", "strict-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Robots-Tag", "noindex")
}
