package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
)

func agentExportCommand(opts *globalOptions) *cobra.Command {
	var version, output, recipient string
	var passphrase bool
	cmd := &cobra.Command{
		Use:   "export NAME",
		Short: "Write an agent as one file that a plain OpenClaw runs",
		Long: "Write an agent's newest state, or a version of it, as one file that a plain OpenClaw runs: unpack it in\n" +
			"a home and start OpenClaw there. It holds all that the agent knows, its logins too: encrypt it with\n" +
			"--recipient or --passphrase, and read it with age -d.",
		Args: exactly(1, "an agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if output == "" && (opts.json || isTerminal(out)) {
				return usageError{errors.New("name a file for the archive with -o")}
			}
			if passphrase {
				if recipient != "" {
					return usageError{errors.New("encrypt to a recipient or with a passphrase, not both")}
				}
				phrase, err := readValue(cmd.Context(), "passphrase", cmd.InOrStdin(), cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				recipient = admin.PassphrasePrefix + phrase
			}
			return runAgentExport(cmd.Context(), opts, args[0], version, recipient, output, out, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&version, "version", admin.LatestVersion, "a version; `moltworker backup ls` lists them")
	flags.StringVarP(&output, "output", "o", "", "write it there")
	flags.StringVar(&recipient, "recipient", "", "encrypt it to this key: age1..., or an SSH public key")
	flags.BoolVar(&passphrase, "passphrase", false, "encrypt it with a passphrase, which is asked for or read from standard input")
	return cmd
}

func runAgentExport(ctx context.Context, opts *globalOptions, agent, version, recipient, output string, out, errOut io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	n, err := receive(output, out, func(w io.Writer) (int64, error) { return c.Export(ctx, agent, version, recipient, w) })
	if err != nil || output == "" {
		return err
	}
	if opts.json {
		return printJSON(out, map[string]any{"agent": agent, "output": output, "bytes": n, "encrypted": recipient != ""})
	}
	if recipient == "" {
		fmt.Fprintln(errOut, "moltworker: note: it is not encrypted, and holds all that the agent knows")
	}
	_, err = fmt.Fprintf(out, "%s: %s in %s\n", agent, size(n), output)
	return err
}
