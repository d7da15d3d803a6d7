package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// poolDir is where spares are kept.
func poolDir(data string) string { return filepath.Join(data, "pool") }

// newPool makes the pool of agents that were booted ahead of need.
func (s *server) newPool() (*agent.Pool, error) {
	size := s.cfg.Pool
	if _, ok := s.maker.driver.(sandbox.Imager); !ok && size > 0 {
		s.log.Warn("no agents are kept ready: the driver makes no images", "driver", s.maker.driver.Name())
		size = 0
	}
	pool, err := agent.NewPool(agent.PoolOptions{
		Dir: poolDir(s.cfg.Data), Size: size, Make: s.maker.spare, Name: spareName, Quiet: s.awaitQuiet, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	return pool, s.forgetSpares()
}

// forgetSpares drops the tokens of spares that are no more.
func (s *server) forgetSpares() error {
	list, err := s.secrets.store.List()
	if err != nil {
		return err
	}
	for _, info := range list {
		name, _, scoped := strings.Cut(info.Name, "/")
		if !scoped || !strings.HasPrefix(name, sparePrefix) {
			continue
		}
		if _, err := os.Stat(filepath.Join(poolDir(s.cfg.Data), name)); err == nil {
			continue
		}
		if err := s.secrets.dropToken(name); err != nil {
			return err
		}
	}
	return nil
}

const sparePrefix = "spare-"

func spareName() string {
	var b [4]byte
	rand.Read(b[:])
	return sparePrefix + hex.EncodeToString(b[:])
}

// awaitQuiet waits until no agent is on its way up: a spare's boot would slow that.
func (s *server) awaitQuiet(ctx context.Context) error {
	for {
		busy := false
		for _, a := range s.fleet.All() {
			state := a.Status().State
			busy = busy || state == agent.StateBooting || state == agent.StateWaking
		}
		if !busy {
			return ctx.Err()
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tidyEvery is how often images are looked through for what is old or too much.
const tidyEvery = time.Minute

// tidyImages compresses images that are old and removes those for which there is no
// space.
func (s *server) tidyImages(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	limits := image.Limits{Bytes: s.cfg.ImageSpace, CoolAfter: s.cfg.ImageCompressAfter}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		stores := map[string]*image.Store{}
		for _, a := range s.fleet.All() {
			if images := a.Images(); images != nil {
				stores[a.Name()] = images
			}
		}
		done, err := image.Enforce(ctx, stores, limits, time.Now(), s.log)
		for _, step := range done {
			if a, ok := s.fleet.Agent(step.Agent); ok {
				a.ImageChanged()
			}
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			s.log.Warn("cannot tidy images", "err", err)
		}
	}
}
