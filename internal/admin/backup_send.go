package admin

import (
	"errors"
	"io"
	"net/http"
	"strconv"
)

// Attach sets the headers of a file out of an agent's state: a browser keeps it under
// the last name of path, as far as that is harmless, and never shows it, since we are
// not its origin.
func Attach(h http.Header, path string) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", Attachment(path))
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

var errOtherSize = errors.New("the file is not as large as the version says")

// SendFile answers with a file of size bytes. It holds the last byte back until body
// has ended well, as only then it is known that all was right: after an error the
// connection must be aborted, so that nobody takes what came for the whole.
func SendFile(w http.ResponseWriter, path string, body io.Reader, size int64) error {
	Attach(w.Header(), path)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if size > 0 {
		if _, err := io.CopyN(w, body, size-1); err != nil {
			return err
		}
	}
	rest, err := io.ReadAll(io.LimitReader(body, 2))
	switch {
	case err != nil:
		return err
	case int64(len(rest)) != min(size, 1):
		return errOtherSize
	}
	_, err = w.Write(rest)
	return err
}
