package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
)

// load reads the settings that apply to this command line.
func load(opts *globalOptions, over config.Overrides) (config.Config, error) {
	over.Data, over.ConfigFile = opts.data, opts.config
	return config.Load(over)
}

// connect returns a client of the moltworker that serves the data directory.
func connect(opts *globalOptions) (*client.Client, error) {
	cfg, err := load(opts, config.Overrides{})
	if err != nil {
		return nil, err
	}
	return client.New(cfg.Data), nil
}

// awaitAgent polls until the agent is awake or needs a person.
func awaitAgent(ctx context.Context, c *client.Client, name string, wait time.Duration) (admin.AgentInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := c.Agent(ctx, name)
		if err != nil && ctx.Err() == nil {
			return info, err
		}
		switch info.State {
		case agent.StateAwake:
			return info, nil
		case agent.StateFailed:
			return info, remedy.With(fmt.Errorf("agent %s: %s", name, info.Error), info.Remedy)
		}
		select {
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return info, context.Cause(ctx)
			}
			return info, fmt.Errorf("agent %s is not awake after %s; `moltworker agent ls` says what it does", name, wait)
		case <-tick.C:
		}
	}
}

// afterwards is what an agent is once it is awake, if that is to be waited for, and
// else what it is now.
func afterwards(ctx context.Context, c *client.Client, name string, wait time.Duration, now agent.Status) (agent.Status, error) {
	if wait <= 0 {
		return now, nil
	}
	info, err := awaitAgent(ctx, c, name, wait)
	return info.Status, err
}
