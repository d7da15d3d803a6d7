package roster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// Try runs /bin/true in a sandbox for at most timeout: nothing else tells
// reliably whether the machine lets the driver work.
func (r *Roster[S]) Try(ctx context.Context, timeout time.Duration) sandbox.Check {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c := sandbox.Check{Name: "trial sandbox"}
	began := time.Now()
	if err := r.tryOut(ctx); err != nil {
		c.Detail = err.Error()
		return c
	}
	c.OK = true
	c.Detail = fmt.Sprintf("started and ended in %d ms", time.Since(began).Milliseconds())
	return c
}

func (r *Roster[S]) tryOut(ctx context.Context) (err error) {
	id := "probe-" + strings.ToLower(rand.Text()[:10])
	log := r.Dir(id) + ".log"
	defer os.Remove(log)
	s, err := r.Start(ctx, sandbox.Spec{ID: id, Hostname: "probe", Args: []string{"/bin/true"}, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		err = errors.Join(err, s.Destroy(ctx))
	}()
	ended, err := s.Wait(ctx)
	if err == nil && (!ended.Known || ended.Code != 0 || ended.Signal != 0) {
		err = fmt.Errorf("the trial %v", ended)
	}
	return err
}
