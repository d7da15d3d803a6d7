// Command bench measures a moltworker of this source tree: how long agents boot,
// what the way to them adds to a request, what they take while idle, how long they
// take to wake, what many of them come to, what backing one up costs, and what the AI
// gateway adds to a model call. Every number stands beside a baseline taken in the
// same run. Where the order is free, what is compared takes turns, so that a busy
// machine slows both alike; how an image lies changes only now and then.
//
//	go run ./bench [-short] [-n N] [-json FILE] [-pprof FILE] [-agents N] [latency|boot|memory|wake|fleet|pool|backup|aigateway|all]...
//
// It must not be imported, and measures the parts through their public faces
// only. docs/benchmarks.md says how to read what it prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/guest/pid1"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
)

func main() {
	// gVisor's processes, PID 1 inside, and both ends of what is measured are
	// this program too.
	gvisor.Dispatch()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "guest":
			os.Exit(pid1.Main(os.Args[2:]))
		case echoRole:
			os.Exit(status(serveEcho(os.Args[2:])))
		case probeRole:
			os.Exit(status(runProbe(os.Args[2:])))
		case backupRole:
			os.Exit(status(runBackup(os.Args[2:])))
		case callRole:
			os.Exit(status(runCalls(os.Args[2:])))
		}
	}
	if err := gvisor.EnterUserNamespace(); err != nil && !errors.Is(err, sandbox.ErrUnavailable) {
		os.Exit(status(err))
	}
	os.Exit(status(run()))
}

func status(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// options say what is measured and how thoroughly.
type options struct {
	short  bool          // few repetitions, and only the echo server where the gateway is not the point
	n      int           // repetitions; 0 leaves it to the measurement
	agents int           // how many the fleet has; 0 leaves it to the measurement
	seed   uint64        // of the points at which the trial of chaos kills
	sleep  time.Duration // of the trial of the clock; 0 leaves it to that
	state  int           // MB of the state that is backed up; 0 leaves it to the measurement
	tool   string        // only the tools of backup whose names have it in them; "": all
	json   string        // file for the results
	pprof  string        // file for a CPU profile of this process
	names  []string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.short, "short", false, "one boot each and few requests; boots with an empty home and latency of the echo server only")
	flags.IntVar(&o.n, "n", 0, "`rounds` of each measurement (0: its own number)")
	flags.IntVar(&o.agents, "agents", 0, "`number` of agents of the fleet (0: 50, or 3 of a short run); each takes about 0.7 GB of disk below the temporary directory")
	flags.Uint64Var(&o.seed, "seed", 1, "`number` that the points follow from at which chaos kills")
	flags.DurationVar(&o.sleep, "sleep", 0, "how long the agent sleeps in the trial of the clock (0: 10m, or 20s of a short run)")
	flags.IntVar(&o.state, "state", 0, "`MB` of the state that is backed up (0: 200, or 20 of a short run)")
	flags.StringVar(&o.tool, "tool", "", "measure only the tools of backup with `TEXT` in their names")
	flags.StringVar(&o.json, "json", "", "write the results to `FILE` as JSON too")
	flags.StringVar(&o.pprof, "pprof", "", "write a CPU profile of this process, where edge and the link's host side run, to `FILE`")
	for {
		if err := flags.Parse(args); err != nil {
			return o, err
		}
		if flags.NArg() == 0 {
			break
		}
		o.names = append(o.names, flags.Arg(0))
		args = flags.Args()[1:]
	}
	if len(o.names) == 0 || slices.Contains(o.names, "all") {
		o.names = order
	}
	if slices.Contains(o.names, "trials") {
		o.names = trialOrder
	}
	for _, name := range o.names {
		if measurements[name] == nil && trials[name] == nil {
			return o, fmt.Errorf("no measurement is called %q; there are %v, and trials: %v", name, order, trialOrder)
		}
	}
	return o, nil
}

// rounds is the wanted number of rounds.
func (o options) rounds(full, short int) int {
	switch {
	case o.n > 0:
		return o.n
	case o.short:
		return short
	}
	return full
}

// order is that in which everything is measured.
var order = []string{"latency", "boot", "memory", "wake", "fleet", "pool", "backup", "aigateway"}

var measurements = map[string]func(context.Context, *bench) ([]table, error){
	"boot":      measureBoot,
	"latency":   measureLatency,
	"memory":    measureMemory,
	"wake":      measureWake,
	"fleet":     measureFleet,
	"pool":      measurePool,
	"backup":    measureBackup,
	"aigateway": measureAIGateway,
}

// bench is one run of this program.
type bench struct {
	options
	dir     string // for everything that is made, removed at the end
	self    string // this program
	program string // moltworker, built when first asked for
	kept    kept
	clocked []table // of the trial of the clock, if another one's sleep did for it
}

// kept is what a short run's boot leaves running, so that what follows need not boot
// again.
type kept struct {
	native *native
	up     *up
	stage  *stage
}

func (k *kept) stop() error {
	if k.native != nil {
		k.native.stop()
	}
	var err error
	if k.stage != nil {
		err = k.stage.end()
	}
	if k.up != nil {
		err = errors.Join(err, k.up.stop())
	}
	return err
}

// limit bounds a whole run: a program that hangs must not hold a machine.
const limit = 2 * time.Hour

func run() (err error) {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b := &bench{options: o}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "moltworker-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.kept.stop(), os.RemoveAll(b.dir)) }()
	stopProfile, err := profile(o.pprof)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	report := newReport(o)
	for _, name := range o.names {
		do := measurements[name]
		if do == nil {
			do = trials[name]
		}
		tables, measured := do(ctx, b)
		report.add(os.Stdout, tables)
		if measured != nil {
			err = fmt.Errorf("%s: %w", name, measured)
			break
		}
	}
	return errors.Join(err, report.finish(os.Stdout, o.json)) // what was found until then counts
}

// profile starts a CPU profile if there is a file for it, and gives what ends it.
func profile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// say tells what goes on.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "· "+format+"\n", args...)
}
