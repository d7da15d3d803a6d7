package pid1

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Main is the program that runs as PID 1 inside: it takes the arguments after
// the command's name and returns the exit code.
func Main(args []string) int {
	opts, err := parse(args, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		return 2
	}
	if os.Getpid() != 1 {
		// What loses its parent below this process comes to it all the same.
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	} else {
		scatter()
	}
	opts.Orphans = true
	opts.Env = os.Environ()
	opts.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	g := New(opts)
	if err := g.runWithSignals(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		return 1
	}
	return 0
}

// runWithSignals runs until the host says so or SIGTERM comes. SIGHUP means what it
// says: the line to the host is gone, whatever it looks like from here. Signals
// that would end an ordinary process are caught, not ignored: children would
// inherit that.
func (g *Guest) runWithSignals() error {
	ctx := context.Background()
	nothing := make(chan os.Signal, 1)
	signal.Notify(nothing, unix.SIGPIPE)
	defer signal.Stop(nothing)
	hungUp := make(chan os.Signal, 1)
	signal.Notify(hungUp, unix.SIGHUP)
	defer signal.Stop(hungUp)
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(term)
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		for {
			select {
			case <-hungUp:
				g.Redial()
			case <-term:
				g.Shutdown(ctx, defaultGrace)
				return
			case <-finished:
				return
			}
		}
	}()
	return g.Run(ctx)
}

func parse(args []string, usage io.Writer) (Options, error) {
	opts := Options{Forwards: map[int]string{}}
	flags := flag.NewFlagSet("guest", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&opts.Socket, "link", "", "the host's `socket`")
	flags.Func("forward", "carry connections to a loopback port to a host service, `PORT=SERVICE`", func(s string) error {
		return addForward(opts.Forwards, s)
	})
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if !filepath.IsAbs(opts.Socket) || flags.NArg() > 0 {
		return opts, fmt.Errorf("want --link with an absolute path, and nothing but flags")
	}
	return opts, nil
}

func addForward(forwards map[int]string, s string) error {
	number, service, ok := strings.Cut(s, "=")
	port, err := strconv.Atoi(number)
	if !ok || err != nil || port < 1 || port > 65535 || service == "" {
		return fmt.Errorf("%q: want PORT=SERVICE", s)
	}
	if _, taken := forwards[port]; taken {
		return fmt.Errorf("port %d is forwarded twice", port)
	}
	forwards[port] = service
	return nil
}
