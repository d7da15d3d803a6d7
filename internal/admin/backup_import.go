package admin

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/config"
)

// BucketPrefix stands before what is imported from the bucket of Cloudflare's
// moltworker; without it, a path of this machine is meant.
const BucketPrefix = "r2:"

// Import makes an agent of a foreign state. A path of this machine may be named by
// the owner of the data directory alone: it is read with the host's rights, which
// nobody has who only came in by the web.
func (p *Plane) Import(ctx context.Context, name, from string, tell func(string)) (Imported, error) {
	if err := p.mayAll(ctx, access.WriteStorage, access.WriteAgents); err != nil {
		return Imported{}, err
	}
	if err := checkImport(ctx, name, from); err != nil {
		return Imported{}, err
	}
	made, err := p.opts.Backups.Import(ctx, name, from, telling(tell))
	for _, l := range []*[]string{&made.Kept, &made.Changed, &made.Dropped, &made.Secrets, &made.Warnings} {
		*l = list(*l)
	}
	if !access.From(ctx).May(access.UseAgents) {
		made.Link = ""
	}
	e := audit.Event{Action: "agent.import", Agent: name, Target: from, Old: "none", New: made.Kind}
	if n := len(made.Secrets); n > 0 {
		e.Detail = fmt.Sprintf("secrets sealed: %s", strings.Join(made.Secrets, " "))
	}
	return made, p.noted(ctx, e, err)
}

func checkImport(ctx context.Context, name, from string) error {
	if err := config.CheckAgentName(name); err != nil {
		return err
	}
	if from == "" || len(from) > maxHomePath || strings.ContainsRune(from, 0) {
		return invalid("say what to import: a directory or an archive on this machine, or r2:", "moltworker agent import NAME --from PATH")
	}
	if strings.HasPrefix(from, BucketPrefix) {
		return nil
	}
	if access.From(ctx).Kind != access.KindOwner {
		return &Error{Status: http.StatusForbidden, Kind: "forbidden", Message: "what is imported from a path of this machine is named on that machine",
			Remedy: "run `moltworker agent import " + name + " --from PATH` there, or import from r2:"}
	}
	if !filepath.IsAbs(from) {
		return invalid("want an absolute path", "")
	}
	return nil
}
