package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// Storage is how the agents' state is kept beyond this machine.
type Storage struct {
	Configured bool       `json:"configured"`
	Missing    []string   `json:"missing,omitempty"` // settings it would need
	LastSync   *time.Time `json:"lastSync"`          // of the newest good backup; nil when there was none
	Message    string     `json:"message"`
}

// Storage says how the agents' state is kept beyond this machine.
func (p *Plane) Storage(ctx context.Context) (Storage, error) {
	if err := p.may(ctx, access.ReadStorage); err != nil {
		return Storage{}, err
	}
	return Storage{Message: "Backup is not configured. What agents have is on this machine's disk only."}, nil
}

// SyncStorage makes a backup now. Without one configured the error is
// ErrNotConfigured.
func (p *Plane) SyncStorage(ctx context.Context) (Storage, error) {
	if err := p.may(ctx, access.WriteStorage); err != nil {
		return Storage{}, err
	}
	return Storage{}, &Error{Status: http.StatusBadRequest, Kind: "not_configured", Message: "Backup is not configured."}
}
