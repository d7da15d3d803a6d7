package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
	"github.com/moltworker/moltworker/internal/sandbox/process"
)

// Values of MOLTWORKER_SANDBOX.
const (
	driverAuto    = "auto"
	driverGVisor  = "gvisor"
	driverProcess = "process"
)

// EnterNamespace makes this program root in a user namespace of its own when it
// is not root and gVisor may be used. It is called before anything is opened,
// because it runs the program again.
func EnterNamespace(cfg config.Config) error {
	if cfg.Sandbox == driverProcess {
		return nil
	}
	// Root in the namespace has other default places than the caller.
	if err := errors.Join(os.Setenv("MOLTWORKER_DATA", cfg.Data), os.Setenv("MOLTWORKER_CACHE", cfg.Cache)); err != nil {
		return err
	}
	err := gvisor.EnterUserNamespace()
	if cfg.Sandbox == driverAuto && errors.Is(err, sandbox.ErrUnavailable) {
		return nil // chooseDriver falls back and says why
	}
	return err
}

// Probe asks the drivers that cfg allows what they can do here.
func Probe(ctx context.Context, cfg config.Config, notify func(string)) ([]sandbox.Report, error) {
	if err := EnterNamespace(cfg); err != nil && !errors.Is(err, sandbox.ErrUnavailable) {
		return nil, err
	}
	var reports []sandbox.Report
	for _, name := range candidates(cfg) {
		d, err := newDriver(ctx, name, cfg.Data, notify)
		if err != nil {
			reports = append(reports, sandbox.Report{Driver: name, Summary: err.Error()})
			continue
		}
		reports = append(reports, d.Probe(ctx))
	}
	return reports, nil
}

// chooseDriver returns the first driver that can run here: gVisor, or the
// process driver where gVisor cannot run or by the user's choice.
func chooseDriver(ctx context.Context, cfg config.Config, notify func(string)) (sandbox.Driver, sandbox.Report, error) {
	var problems []string
	for _, name := range candidates(cfg) {
		d, err := newDriver(ctx, name, cfg.Data, notify)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		report := d.Probe(ctx)
		if report.Available {
			report.Checks = append(passedOver(problems), report.Checks...)
			return d, report, nil
		}
		problems = append(problems, unavailable(report))
	}
	return nil, sandbox.Report{}, remedy.With(
		fmt.Errorf("%w: %s", sandbox.ErrUnavailable, strings.Join(problems, "; ")),
		"`moltworker doctor` shows what this machine lacks")
}

// passedOver says why better drivers were not chosen.
func passedOver(problems []string) []sandbox.Check {
	var checks []sandbox.Check
	for _, p := range problems {
		checks = append(checks, sandbox.Check{Name: "a stronger sandbox", Detail: p})
	}
	return checks
}

func candidates(cfg config.Config) []string {
	if cfg.Sandbox == driverAuto {
		return []string{driverGVisor, driverProcess}
	}
	return []string{cfg.Sandbox}
}

// newDriver makes a driver ready to start sandboxes; notify is told before that
// takes minutes.
func newDriver(ctx context.Context, name, data string, notify func(string)) (sandbox.Driver, error) {
	if name == driverGVisor {
		if _, err := gvisor.Prepare(ctx, notify); err != nil {
			return nil, err
		}
	}
	return openDriver(name, data, notify)
}

// openDriver makes a driver of a data directory.
func openDriver(name, data string, notify func(string)) (sandbox.Driver, error) {
	root := driverRoot(data, name)
	if name == driverProcess {
		return process.New(process.Options{Root: root})
	}
	return gvisor.New(gvisor.Options{Root: root, Notify: notify})
}

func driverRoot(data, name string) string { return filepath.Join(data, "run", name) }

func unavailable(r sandbox.Report) string {
	for _, c := range r.Checks {
		if !c.OK && c.Remedy != "" {
			return fmt.Sprintf("%s: %s: %s (%s)", r.Driver, c.Name, c.Detail, c.Remedy)
		}
	}
	return r.Driver + ": " + r.Summary
}
