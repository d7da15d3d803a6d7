package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/audit"
)

func backupGetCommand(b *backupOptions) *cobra.Command {
	var version, output string
	cmd := b.command("get PATH", "Copy one file of a version to standard output, or to a file", exactly(1, "one path relative to the agent's home; `moltworker backup show` lists them"), func(c *call) error {
		if c.json && output == "" {
			return usageError{errors.New("with --json, name a file for the content with -o")}
		}
		n, err := receive(output, c.out, func(w io.Writer) (int64, error) {
			return c.client.File(c.ctx, c.agent, version, c.args[0], w)
		})
		if err != nil || !c.json {
			return err
		}
		return printJSON(c.out, map[string]any{"path": c.args[0], "output": output, "bytes": n})
	})
	cmd.Flags().StringVar(&version, "version", admin.LatestVersion, "the version to take it from")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write it there")
	return cmd
}

// receive has something written to a file, whole or not at all, or to out if none is
// named. A terminal gets no control characters.
func receive(file string, out io.Writer, write func(io.Writer) (int64, error)) (n int64, err error) {
	if file == "" {
		if !isTerminal(out) {
			return write(out)
		}
		return tamed(out, write)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".moltworker-*.tmp")
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", file, err)
	}
	defer os.Remove(f.Name()) // is gone when all is well
	n, err = write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return n, err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return n, fmt.Errorf("write %s: %w", file, err)
	}
	return n, atomicfile.SyncDir(filepath.Dir(file))
}

// tamed escapes what would order a terminal about.
func tamed(out io.Writer, write func(io.Writer) (int64, error)) (int64, error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- tame(out, r) }()
	n, err := write(w)
	w.CloseWithError(err)
	return n, errors.Join(err, <-done)
}

func tame(out io.Writer, in io.Reader) error {
	text, to := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		r, _, err := text.ReadRune()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, to.Flush())
		}
		if r == '\n' || r == '\t' {
			to.WriteRune(r)
		} else {
			to.WriteString(audit.Visible(string(r)))
		}
	}
}

// visible is a whole path as it can stand in a table.
func visible(path string) string { return audit.Visible(strings.ToValidUTF8(path, "\ufffd")) }
