package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/server"
	"github.com/moltworker/moltworker/internal/store"
)

// Exit codes, documented in docs/cli.md. `agent exec` ends with the command's
// own code instead, or 124 when its time ran out.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2 // the command line or a setting is wrong
	exitNotRunning = 3 // no `moltworker up` serves the data directory
	exitNotFound   = 4 // no such agent, version, device or secret
	exitInUse      = 5 // the data directory or the port is taken
	exitBroken     = 6 // the audit log is not what was recorded
	exitDamaged    = 7 // the backup has something that cannot be restored
	exitTimedOut   = 124
)

// commandExit ends the program with the code of a command run inside, silently.
type commandExit struct{ code int }

func (e commandExit) Error() string { return fmt.Sprintf("the command ended with code %d", e.code) }

// report shows err and returns the exit code.
func report(w io.Writer, err error, asJSON bool) int {
	var inside commandExit
	if errors.As(err, &inside) {
		return inside.code
	}
	code, kind := classify(err)
	message, hint := strings.TrimSpace(err.Error()), hintFor(err)
	if asJSON {
		json.NewEncoder(w).Encode(map[string]admin.Error{"error": {Kind: kind, Message: message, Remedy: hint}})
		return code
	}
	fmt.Fprintf(w, "moltworker: error: %s\n", message)
	if hint != "" {
		fmt.Fprintf(w, "moltworker: hint: %s\n", hint)
	}
	return code
}

func hintFor(err error) string {
	var refused *admin.Error
	switch {
	case errors.As(err, &refused):
		return refused.Remedy
	case errors.Is(err, client.ErrNotRunning):
		return "start it with `moltworker up`, or name its data directory with --data DIR"
	}
	return remedy.Of(err)
}

func classify(err error) (code int, kind string) {
	var usage usageError
	var refused *admin.Error
	switch {
	case errors.As(err, &usage), errors.Is(err, config.ErrInvalid):
		return exitUsage, "usage"
	case errors.Is(err, client.ErrNotRunning):
		return exitNotRunning, "not_running"
	case errors.Is(err, server.ErrInUse):
		return exitInUse, "in_use"
	case errors.Is(err, errBroken):
		return exitBroken, "audit_broken"
	case errors.Is(err, errDamaged):
		return exitDamaged, "damaged"
	case errors.Is(err, secret.ErrNotFound), errors.Is(err, store.ErrNotFound):
		return exitNotFound, "not_found"
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		return exitNotFound, refused.Kind
	case errors.As(err, &refused) && refused.Kind == "damaged" && refused.Status == http.StatusBadGateway:
		return exitDamaged, refused.Kind
	case errors.As(err, &refused):
		return exitFailed, refused.Kind
	case strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage, "usage"
	}
	return exitFailed, "failed"
}
