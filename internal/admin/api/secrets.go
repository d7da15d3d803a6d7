package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/secret"
)

func (a *routes) secrets(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Secrets(r.Context())
	return answer(w, http.StatusOK, map[string][]admin.SecretInfo{"secrets": list}, err)
}

// putSecret takes the value as the request's body.
func (a *routes) putSecret(w http.ResponseWriter, r *http.Request) error {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, secret.MaxValue))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &admin.Error{Status: http.StatusRequestEntityTooLarge, Kind: "invalid", Message: fmt.Sprintf("a secret may have at most %d bytes", secret.MaxValue)}
	}
	if err != nil {
		return fmt.Errorf("read the value: %w", err)
	}
	return done(w, a.PutSecret(r.Context(), r.PathValue("name"), string(value)))
}

func (a *routes) removeSecret(w http.ResponseWriter, r *http.Request) error {
	return done(w, a.RemoveSecret(r.Context(), r.PathValue("name")))
}

// done answers a call that has nothing to tell but that it went well.
func done(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
