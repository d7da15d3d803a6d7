package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

// execOptions are the flags of `agent exec`.
type execOptions struct {
	timeout time.Duration
	dir     string
	stdin   bool
}

func agentExecCommand(opts *globalOptions) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec NAME -- COMMAND [ARG...]",
		Short: "Run a command inside an agent's sandbox, as the agent",
		Long: "Run a command inside an agent's sandbox, as the agent. Ends with the command's exit code;\n" +
			"when the time is up the command and its children are killed and the code is 124.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageError{errors.New("want an agent's name and a command: moltworker agent exec main -- ls -l")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAgentExec(cmd.Context(), opts, o, args[0], args[1:], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().DurationVar(&o.timeout, "timeout", proto.DefaultExecTimeout, "kill the command after this long")
	cmd.Flags().StringVar(&o.dir, "dir", "", "working directory inside (default: the agent's home)")
	cmd.Flags().BoolVarP(&o.stdin, "stdin", "i", false, "pass standard input on")
	return cmd
}

// execResult is what --json prints.
type execResult struct {
	Code     int    `json:"code"`
	Signal   int    `json:"signal,omitempty"`
	TimedOut bool   `json:"timed_out,omitempty"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

func runAgentExec(ctx context.Context, opts *globalOptions, o execOptions, name string, args []string, stdout, stderr io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	var stdin io.Reader
	if o.stdin {
		stdin = os.Stdin
	}
	var out, errOut capped
	to, toErr := stdout, stderr
	if opts.json {
		to, toErr = &out, &errOut
	}
	exit, err := c.Exec(ctx, name, proto.Exec{Args: args, Dir: o.dir, Timeout: proto.Duration(o.timeout)}, stdin, to, toErr)
	if err != nil {
		return err
	}
	if exit.Error != "" {
		return errors.New(exit.Error)
	}
	if opts.json {
		result := execResult{Code: exit.Code, Signal: exit.Signal, TimedOut: exit.TimedOut, Stdout: string(out), Stderr: string(errOut)}
		if err := printJSON(stdout, result); err != nil {
			return err
		}
	}
	return exitOf(exit)
}

// exitOf turns how a command ended into how we end, as shells do.
func exitOf(exit proto.ExecExit) error {
	switch {
	case exit.TimedOut:
		return commandExit{exitTimedOut}
	case exit.Signal != 0:
		return commandExit{128 + exit.Signal}
	case exit.Code != 0:
		return commandExit{exit.Code}
	}
	return nil
}

// capped keeps the first 16 MiB of what is written and takes the rest silently.
type capped []byte

func (c *capped) Write(p []byte) (int, error) {
	*c = append(*c, p[:min(len(p), 16<<20-len(*c))]...)
	return len(p), nil
}
