package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// install brings the OpenClaw runtime onto the machine once for all agents, who
// wait for it.
type install struct {
	cache string
	con   *Console
	log   *slog.Logger

	done    chan struct{} // closed when runtime or err is set
	runtime runtime.Runtime
	err     error

	mu       sync.Mutex // guards what follows
	progress string
	changed  chan struct{} // closed and replaced when progress changes
}

func newInstall(cache string, con *Console, log *slog.Logger) *install {
	return &install{cache: cache, con: con, log: log, done: make(chan struct{}), changed: make(chan struct{})}
}

// run installs or verifies. Its error ends the program: without a runtime there
// is nothing to run.
func (i *install) run(ctx context.Context) error {
	i.runtime, i.err = runtime.Install(ctx, runtime.InstallOptions{CacheDir: i.cache, Progress: i.show, Log: i.log})
	close(i.done)
	if i.err == nil {
		i.con.installed(i.runtime)
	}
	if ctx.Err() != nil {
		return nil // whatever it broke off with is no failure
	}
	return i.err
}

// show tells the console and the waiting agents how far it is.
func (i *install) show(p runtime.Progress) {
	i.con.installing(p)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.progress = ": " + string(p.Phase)
	if p.Total > 0 {
		i.progress += fmt.Sprintf(", %d of %d MB", p.Done/1e6, p.Total/1e6)
	}
	close(i.changed)
	i.changed = make(chan struct{})
}

func (i *install) latest() (progress string, changed <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.progress, i.changed
}

// wait returns the runtime once it is there, telling the progress until then.
func (i *install) wait(ctx context.Context, tell func(progress string)) (runtime.Runtime, error) {
	for {
		progress, changed := i.latest()
		select {
		case <-i.done:
			return i.runtime, i.err
		default:
			tell(progress)
		}
		select {
		case <-i.done:
		case <-changed:
		case <-ctx.Done():
			return runtime.Runtime{}, context.Cause(ctx)
		}
	}
}
