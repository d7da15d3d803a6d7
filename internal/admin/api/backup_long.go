package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
)

// Step is a line of the answer of something that takes long: any number of lines with
// Progress, and a last one with Result or Error. An answer without such a last line
// was cut off.
type Step struct {
	Progress string          `json:"progress,omitempty"` // said again when nothing is new for long
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *admin.Error    `json:"error,omitempty"`
	Status   int             `json:"status,omitempty"` // of HTTP, that the error would have had
}

// pulse is how long such an answer is silent at most, so that what is between us and
// the client takes it for alive.
const pulse = 15 * time.Second

// steps answers with one Step a line. What is refused before the first is an
// ordinary refusal.
type steps struct {
	w http.ResponseWriter

	mu    sync.Mutex // guards what follows
	begun bool
	last  string
}

// say writes a line. Who went away is no failure of ours: what was begun goes by its
// context.
func (s *steps) say(line Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line.Progress != "" {
		s.last = line.Progress
	}
	s.write(line)
}

// write needs mu.
func (s *steps) write(line Step) {
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "application/x-ndjson")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		s.w.WriteHeader(http.StatusOK)
	}
	_ = json.NewEncoder(s.w).Encode(line)
	_ = http.NewResponseController(s.w).Flush()
}

// again repeats what was said last.
func (s *steps) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == "" {
		s.last = "under way"
	}
	s.write(Step{Progress: s.last})
}

// long answers with the steps of something, and what it came to.
func long[T any](a *routes, w http.ResponseWriter, r *http.Request, do func(ctx context.Context, tell func(string)) (T, error)) error {
	out := &steps{w: w}
	over, silent := make(chan struct{}), sync.WaitGroup{}
	silent.Go(func() {
		tick := time.NewTicker(pulse)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				out.again()
			}
		}
	})
	result, err := do(r.Context(), func(text string) { out.say(Step{Progress: text}) })
	close(over)
	silent.Wait()
	if err != nil && !out.begun {
		return err
	}
	if err != nil {
		e := admin.AsError(err)
		if e.Status >= 500 {
			a.log.Error("admin request failed", "route", r.Pattern, "err", err)
		}
		out.say(Step{Error: e, Status: e.Status})
		return nil
	}
	body, err := json.Marshal(result)
	if err != nil {
		return err
	}
	out.say(Step{Result: body})
	return nil
}

func (a *routes) restore(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Version string   `json:"version"`
		As      string   `json:"as"`
		Only    []string `json:"only"`
		Escaped bool     `json:"escaped"` // the paths are as in a URL
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	to := admin.RestoreTo{As: req.As, Only: req.Only}
	for i, path := range to.Only {
		if !req.Escaped {
			continue
		}
		var err error
		if to.Only[i], err = admin.Unescaped("", path); err != nil {
			return err
		}
	}
	return long(a, w, r, func(ctx context.Context, tell func(string)) (admin.Restored, error) {
		return a.BackupRestore(ctx, r.PathValue("agent"), req.Version, to, tell)
	})
}

func (a *routes) verify(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Full bool `json:"full"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	return long(a, w, r, func(ctx context.Context, tell func(string)) (any, error) {
		return a.BackupVerify(ctx, r.PathValue("agent"), req.Full, tell)
	})
}

func (a *routes) repair(w http.ResponseWriter, r *http.Request) error {
	return long(a, w, r, func(ctx context.Context, tell func(string)) (any, error) {
		return a.BackupRepair(ctx, r.PathValue("agent"), tell)
	})
}

func (a *routes) drill(w http.ResponseWriter, r *http.Request) error {
	return long(a, w, r, func(ctx context.Context, tell func(string)) (admin.Drill, error) {
		return a.BackupDrill(ctx, r.PathValue("agent"), tell)
	})
}

func (a *routes) importAgent(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		From string `json:"from"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	return long(a, w, r, func(ctx context.Context, tell func(string)) (admin.Imported, error) {
		return a.Import(ctx, r.PathValue("agent"), req.From, tell)
	})
}
