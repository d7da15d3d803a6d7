// Command moltworker runs personal AI agents, each in a sandbox of its own. This
// package is the door: it tells the roles of the one binary apart, parses the
// command line, and hands over. One file per command.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/guest/pid1"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
)

func main() {
	// A sandbox's own processes are this binary too; they never return here.
	gvisor.Dispatch()
	if len(os.Args) > 1 && os.Args[1] == "guest" {
		os.Exit(pid1.Main(os.Args[2:]))
	}
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A second Ctrl-C ends the program at once.
	context.AfterFunc(ctx, stop)

	opts := &globalOptions{}
	root := rootCommand(opts)
	if err := root.ExecuteContext(ctx); err != nil {
		return report(os.Stderr, err, opts.json)
	}
	return exitOK
}

// globalOptions are flags that every command takes.
type globalOptions struct {
	json   bool
	data   string
	config string
}

func rootCommand(opts *globalOptions) *cobra.Command {
	root := &cobra.Command{
		Use:   "moltworker",
		Short: "Run personal AI agents, each in its own sandbox",
		Long: "moltworker runs unmodified OpenClaw agents on this machine, each in its own gVisor sandbox,\n" +
			"behind one web address. Start with `moltworker up`.",
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without a command there is nothing to do but explain.
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
		Args: cobra.NoArgs,
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&opts.json, "json", false, "print results, and errors on stderr, as JSON")
	flags.StringVar(&opts.data, "data", "", "data directory (MOLTWORKER_DATA)")
	flags.StringVar(&opts.config, "config", "", "file of NAME=value settings, read over .dev.vars in the data directory")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		upCommand(opts),
		agentCommand(opts),
		aiCommand(opts),
		backupCommand(opts),
		deviceCommand(opts),
		tokenCommand(opts),
		secretCommand(opts),
		userCommand(opts),
		serviceTokenCommand(opts),
		auditCommand(opts),
		doctorCommand(opts),
		versionCommand(opts),
	)
	return root
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// atMost is cobra.MaximumNArgs with an error that is told apart from failures.
func atMost(n int, want string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError{errors.New("want at most " + want)}
		}
		return nil
	}
}

// between is cobra.RangeArgs with an error that is told apart from failures.
func between(low, high int, want string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < low || len(args) > high {
			return usageError{errors.New("want " + want)}
		}
		return nil
	}
}

// exactly is cobra.ExactArgs with an error that is told apart from failures.
func exactly(n int, want string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{errors.New("want " + want)}
		}
		return nil
	}
}
