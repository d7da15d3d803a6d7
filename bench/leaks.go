package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox/cgroup"
	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// belongings are what an `up` and its agent have of this machine at a moment.
// What is counted is counted by kind.
type belongings struct {
	mounts, groups, files, temp []string
	processes                   map[string]int // of sandboxes, and children of `up`, by name
	descriptors                 map[string]int // of `up`
	threads                     int            // of `up`
	rss                         int64          // of `up`, bytes
}

func (s *stage) belongings() belongings {
	pid := s.cmd.Process.Pid
	b := belongings{
		mounts: s.mounts(), groups: s.groups(), files: s.files(), temp: below(s.temp, func(string) bool { return false }),
		processes: map[string]int{}, descriptors: descriptors(pid), rss: one(pid).rss,
	}
	for _, p := range hostproc.Find(func(p int) bool { return p != pid }) {
		stat, err := hostproc.ReadStat(p)
		if args := hostproc.Args(p); err == nil && len(args) > 0 && strings.HasPrefix(filepath.Base(args[0]), "runsc") && strings.Contains(strings.Join(args, " "), s.data) {
			b.processes[filepath.Base(args[0])]++
		} else if err == nil && stat.Parent == pid {
			b.processes["child of up, state "+string(stat.State)]++
		}
	}
	tasks, _ := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	b.threads = len(tasks)
	return b
}

// mounts are those of `up`'s namespace that its data directory is part of.
func (s *stage) mounts() []string {
	var found []string
	content, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "mountinfo"))
	own, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(content) + string(own)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.Contains(line, s.data) {
			found = append(found, fields[4])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// groups are the control groups of its sandboxes.
func (s *stage) groups() []string {
	prefix := cgroup.Name(filepath.Join(s.data, "run", "gvisor"), "")
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		groups, _ := filepath.Glob(filepath.Join(pattern, prefix+"*"))
		found = append(found, groups...)
	}
	return found
}

// files are those below the data directory that are not the agent's own, by what they
// are: the ledger's journal has a new number with each start, and a running sandbox
// that was ever halted a note of that, which goes with it.
func (s *stage) files() []string {
	var found []string
	for _, name := range below(s.data, func(path string) bool { return path == s.home() }) {
		dir, base := filepath.Split(name)
		switch {
		case strings.HasPrefix(base, "journal-"):
			name = dir + "journal"
		case base == "halt":
			continue
		}
		found = append(found, name)
	}
	return found
}

// below lists everything below a directory, relative to it, leaving out what skip
// names.
func below(dir string, skip func(path string) bool) []string {
	var found []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == dir:
			return fs.SkipAll
		case err != nil:
			return nil // gone meanwhile
		case skip(path):
			return fs.SkipDir
		}
		if path != dir {
			found = append(found, strings.TrimPrefix(path, dir+"/"))
		}
		return nil
	})
	return found
}

// descriptors are a process's, counted by kind.
func descriptors(pid int) map[string]int {
	kinds := map[string]int{}
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if kind, _, numbered := strings.Cut(target, ":["); numbered {
			target = kind
		}
		kinds[target]++
	}
	return kinds
}

// descriptorSlack is how many descriptors of a kind, or threads, may come and go
// by chance: connections that are kept open for a while, and Go's threads.
const (
	descriptorSlack = 4
	threadSlack     = 12
)

// more says what there is beyond what was.
func (b belongings) more(was belongings) error {
	var errs []error
	for _, list := range []struct {
		name     string
		now, was []string
	}{{"mounts", b.mounts, was.mounts}, {"control groups", b.groups, was.groups}, {"files", b.files, was.files}, {"temporary files", b.temp, was.temp}} {
		if left := without(list.now, list.was); len(left) > 0 {
			errs = append(errs, fmt.Errorf("%d more %s: %.400s", len(left), list.name, strings.Join(left, ", ")))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(b.processes)) {
		if n := b.processes[kind] - was.processes[kind]; n > 0 {
			errs = append(errs, fmt.Errorf("%d more processes: %s", n, kind))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(b.descriptors)) {
		if n := b.descriptors[kind] - was.descriptors[kind]; n > descriptorSlack {
			errs = append(errs, fmt.Errorf("%d more descriptors: %s", n, kind))
		}
	}
	if n := b.threads - was.threads; n > threadSlack {
		errs = append(errs, fmt.Errorf("%d more threads", n))
	}
	return errors.Join(errs...)
}

// without is what list has and other has not.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

func (b belongings) row(name string) row {
	sum := func(counts map[string]int) (n float64) {
		for _, c := range counts {
			n += float64(c)
		}
		return n
	}
	return row{Name: name, Values: map[string]float64{
		"RSS MiB": mib(b.rss), "threads": float64(b.threads), "descriptors": sum(b.descriptors), "processes": sum(b.processes),
		"mounts": float64(len(b.mounts)), "groups": float64(len(b.groups)), "files": float64(len(b.files) + len(b.temp)),
	}}
}

var belongingsColumns = []string{"RSS MiB", "threads", "descriptors", "processes", "mounts", "groups", "files"}

// settled waits until there is no more than there was, and gives what there is.
func (s *stage) settled(was belongings) (belongings, error) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		now := s.belongings()
		err := now.more(was)
		if err == nil || time.Now().After(deadline) {
			return now, err
		}
	}
}

// sandboxes counts those of the agent that run on the host.
func (s *stage) sandboxes() int {
	return len(hostproc.Find(func(pid int) bool {
		args := hostproc.Args(pid)
		return len(args) > 0 && filepath.Base(args[0]) == "runsc-sandbox" && strings.Contains(strings.Join(args, " "), s.data+"/")
	}))
}

// leftovers says what an `up` that has ended has left behind.
func (s *stage) leftovers() error {
	var errs []error
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), s.data) {
		errs = append(errs, errors.New("mounts are left"))
	}
	if groups := s.groups(); len(groups) > 0 {
		errs = append(errs, fmt.Errorf("control groups are left: %v", groups))
	}
	if state, _ := filepath.Glob(filepath.Join(s.data, "run", "*", agentName+"-*")); len(state) > 0 {
		errs = append(errs, fmt.Errorf("state of sandboxes is left: %v", state))
	}
	if temp := below(s.temp, func(string) bool { return false }); len(temp) > 0 {
		errs = append(errs, fmt.Errorf("temporary files are left: %v", temp))
	}
	return errors.Join(errs...)
}
