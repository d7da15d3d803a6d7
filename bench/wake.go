package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/secret"
)

// bed is how an agent lies when somebody comes to wake it.
type bed struct {
	name   string
	seal   string // MOLTWORKER_IMAGE_SEAL
	cold   bool   // the image's files are not in the page cache
	anew   bool   // `up` was started anew since the agent fell asleep
	cool   bool   // and the image was compressed meanwhile
	noMore bool   // the image is removed: it boots
}

// The ways to wake an agent, and the columns of its phases.
const (
	byPage   = "200: "
	bySocket = "hello-ok: "
	colStart = "start s" // from the request to the keeper's first phase
	colEnd   = "end s"   // from the keeper's last phase to the answer
	colOther = "other s" // of the keeper's time, in no phase
)

// wakes is the measurement under way.
type wakes struct {
	*bench
	u      *up
	v      *visitor
	seal   string // u's
	waits  samples
	phases samples
	steps  []string // columns of the phases that were seen, in their order
	sleeps samples
	cools  []float64 // seconds
}

// measureWake puts one agent to sleep again and again and wakes it by a request for
// its page, or by a WebSocket, with its image in different conditions; then it
// boots instead.
func measureWake(ctx context.Context, b *bench) (tables []table, err error) {
	load := loadAverage()
	m := &wakes{bench: b, seal: "auto"}
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if b.short && err == nil {
			b.kept.up = m.u
			return
		}
		err = errors.Join(err, m.u.stop())
	}()
	wrong := m.all(ctx)
	tables = m.tables(load)
	if wrong != nil || b.short {
		return tables, wrong
	}
	small, err := restoreSmall(ctx, b)
	return append(tables, small...), err
}

// begin boots the agent and has a device let in.
func (m *wakes) begin(ctx context.Context) (err error) {
	m.u, m.kept.up = m.kept.up, nil
	if m.u == nil {
		program, err := m.build(ctx)
		if err != nil {
			return err
		}
		say("wake: booting")
		if m.u, err = startUpWith(program, filepath.Join(m.dir, "wake-data"), "gvisor", "127.0.0.1:0", sleepless); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.u.stop())
		}
	}()
	if _, _, err := m.u.awaitAwake(ctx); err != nil {
		return err
	}
	link, err := m.u.link(ctx, "main")
	if err != nil {
		return err
	}
	if m.v, err = visit(ctx, link); err != nil {
		return err
	}
	return m.v.pair(ctx, m.u, "main")
}

// all goes through the beds, the plain ones most often.
func (m *wakes) all(ctx context.Context) error {
	n := m.rounds(30, 3)
	plain := bed{name: "plain, cached", seal: "auto"}
	if m.short {
		return m.times(ctx, n, plain)
	}
	few := max(n/5, 1)
	for _, step := range []struct {
		n int
		bed
	}{
		{n, plain},
		{few, bed{name: "plain, not cached", seal: "auto", cold: true}},
		{max(few/2, 1), bed{name: "plain, `up` started anew", seal: "auto", anew: true}},
		{few, bed{name: "always sealed, cached", seal: "always"}},
		{few, bed{name: "always sealed, not cached", seal: "always", cold: true}},
		{max(few/2, 1), bed{name: "compressed and sealed, cached", seal: "auto", anew: true, cool: true}},
		{max(few/2, 1), bed{name: "compressed and sealed, not cached", seal: "auto", anew: true, cool: true, cold: true}},
		{max(few/2, 1), bed{name: "no image: a boot", seal: "auto", noMore: true}},
	} {
		if err := m.times(ctx, step.n, step.bed); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// times wakes the agent from a bed n times each way.
func (m *wakes) times(ctx context.Context, n int, b bed) error {
	say("wake: %s, %d times each way", b.name, n)
	if b.seal != m.seal {
		m.seal = b.seal
		if _, err := m.u.sleep(ctx, "main"); err != nil {
			return err
		}
		if err := m.startAnew(ctx, nil); err != nil {
			return err
		}
		if _, err := m.u.admin.Wake(ctx, "main"); err != nil {
			return err
		}
	}
	for range n {
		if err := m.once(ctx, b, byPage, m.v.get); err != nil {
			return err
		}
		if err := m.once(ctx, b, bySocket, m.v.hello); err != nil {
			return err
		}
	}
	return nil
}

// startAnew stops `up`, does something while nothing runs, and starts it again in
// the same place.
func (m *wakes) startAnew(ctx context.Context, meanwhile func() error) error {
	if err := m.u.stop(); err != nil {
		return err
	}
	if meanwhile != nil {
		if err := meanwhile(); err != nil {
			return err
		}
	}
	u, err := startUpWith(m.u.program, m.u.data, "gvisor", strings.TrimPrefix(m.v.address(), "http://"), append(sleepless, "MOLTWORKER_IMAGE_SEAL="+m.seal))
	if err != nil {
		return err
	}
	m.u = u
	_, err = u.await(ctx, "main", agent.StateAsleep)
	return err
}

// once puts the agent to sleep, makes its bed, and wakes it.
func (m *wakes) once(ctx context.Context, b bed, way string, act func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	slept, err := m.u.sleep(ctx, "main")
	if err != nil {
		return err
	}
	if !b.noMore {
		m.noteSleep(slept)
	}
	if err := m.make(ctx, b); err != nil {
		return err
	}
	name, values := way+b.name, map[string]float64{}
	if share, ok := cached(imageFiles(m.u.data, "main")); ok && !b.noMore {
		values["cached %"] = 100 * share
	}
	began := time.Now()
	if b.noMore {
		if _, err := m.u.admin.Restart(ctx, "main"); err != nil { // of one that sleeps: it boots
			return err
		}
		once := act
		act = func(ctx context.Context) error { return patiently(ctx, once) }
	}
	if err := act(ctx); err != nil {
		return fmt.Errorf("wake the agent: %w", m.explain(ctx, err))
	}
	ended := time.Now()
	values["s"] = ended.Sub(began).Seconds()
	info, err := m.u.admin.Agent(ctx, "main")
	if err != nil {
		return err
	}
	if b.noMore {
		m.waits.add(name, values)
		return nil
	}
	took, err := restored(info.Status)
	if err != nil {
		return err
	}
	m.waits.add(name, values)
	m.notePhases(name, info.Status, began, ended, took)
	return nil
}

// explain adds to an error what the agent says.
func (m *wakes) explain(ctx context.Context, err error) error {
	info, _ := m.u.admin.Agent(ctx, "main")
	return fmt.Errorf("%w; the agent is %s: %s %s %s", err, info.State, info.Reason, info.Error, info.Note)
}

// make brings a sleeping agent's image into the condition that is to be measured.
func (m *wakes) make(ctx context.Context, b bed) error {
	if b.anew {
		err := m.startAnew(ctx, func() error {
			if !b.cool {
				return nil
			}
			took, err := compress(ctx, m.u.data, "main")
			m.cools = append(m.cools, took.Seconds())
			return err
		})
		if err != nil {
			return err
		}
	}
	info, err := m.u.admin.Agent(ctx, "main")
	if err != nil {
		return err
	}
	if b.cool {
		m.sleeps.add("compressed and sealed", map[string]float64{"image MiB": mib(info.Image.Bytes)})
	}
	files := imageFiles(m.u.data, "main")
	if len(files) == 0 || info.Image == nil || info.Image.Compressed != b.cool || info.Image.Sealed != (b.cool || b.seal == "always") {
		return fmt.Errorf("the image is not as wanted: %+v in %d files", info.Image, len(files))
	}
	if b.cold {
		return evict(files)
	}
	return nil
}

// compress does to a sleeping agent's image what an `up` does after a while. No
// `up` may run.
func compress(ctx context.Context, data, name string) (time.Duration, error) {
	secrets, err := secret.Open(filepath.Join(data, "secrets"), secret.Options{})
	if err != nil {
		return 0, err
	}
	store, err := image.Open(filepath.Join(data, "agents", name, "images"), image.Options{
		Key: func() ([]byte, error) { return secrets.Derive("images of " + name) },
	})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = store.Cool(ctx)
	return time.Since(began), err
}

// imageFiles are those of an agent's image on disk.
func imageFiles(data, name string) []string {
	files, _ := filepath.Glob(filepath.Join(data, "agents", name, "images", "image", "files", "*"))
	return files
}

// noteSleep keeps what a sleep took.
func (m *wakes) noteSleep(r rest) {
	name := "plain"
	if r.Image.Sealed {
		name = "always sealed"
	}
	values := map[string]float64{"sleep s": r.took.Seconds(), "image MiB": mib(r.Image.Bytes), "busy before": float64(r.refused)}
	for _, p := range r.Phases {
		values[p.Name+" s"] += p.Ended.Sub(p.Started).Seconds()
	}
	m.sleeps.add(name, values)
}

// notePhases keeps where a wake's time went.
func (m *wakes) notePhases(name string, s agent.Status, began, ended time.Time, took time.Duration) {
	values := stepsOf(s, took, &m.steps)
	values[colStart] = s.Phases[0].Started.Sub(began).Seconds()
	values[colEnd] = ended.Sub(s.Phases[len(s.Phases)-1].Ended).Seconds()
	m.phases.add(name, values)
}

// stepsOf are the phases of a wake of which the keeper says how long it took. What
// they leave of that is shown too: the agent names its phases as it likes, and none
// of its time must get lost here. columns gains those not seen before.
func stepsOf(s agent.Status, took time.Duration, columns *[]string) map[string]float64 {
	values := map[string]float64{"keeper s": took.Seconds(), colOther: took.Seconds()}
	for i, p := range s.Phases {
		column, spent := p.Name+" s", p.Ended.Sub(p.Started).Seconds()
		values[column] += spent
		values[colOther] -= spent
		if slices.Contains(*columns, column) {
			continue
		}
		at := len(*columns)
		if i > 0 {
			at = slices.Index(*columns, s.Phases[i-1].Name+" s") + 1
		}
		*columns = slices.Insert(*columns, at, column)
	}
	return values
}

// tables are what there is so far.
func (m *wakes) tables(load string) []table {
	waits := m.waits.spreads("s")
	shares := map[string]row{}
	for _, r := range m.waits.medians() {
		shares[r.Name] = r
	}
	for _, r := range waits {
		if share, ok := shares[r.Name].Values["cached %"]; ok {
			r.Values["cached %"] = share
		}
	}
	measured := fmt.Sprintf("on %d cores; load average %s before, %s after", runtime.NumCPU(), load, loadAverage())
	columns := append([]string{colStart}, m.steps...)
	tables := []table{{
		Title:   "Wake: from the request to OpenClaw's answer, through edge",
		Columns: []string{"times", "p50 s", "p99 s", "max s", "cached %"},
		Rows:    waits,
		Notes: []string{
			"200: GET of / answered; hello-ok: WebSocket opened, and a paired device signed in",
			"cached: the image's own files in the page cache before the request; those of OpenClaw and the home always are",
			"p99 of fewer than 100 is the longest; the agent has slept for seconds only", measured,
		},
	}, {
		Title:   "Wake: where the time goes",
		Columns: append(columns, colOther, colEnd, "keeper s"),
		Rows:    m.phases.medians(),
		Notes: []string{
			"medians of each column; start: until the keeper's first phase; end: from its last one to the answer",
			"keeper: how long the agent's state was waking; other: what of that is in no phase",
		},
	}, {
		Title:   "Sleep: from the order until the agent is asleep",
		Columns: []string{"sleep s", "quiet s", "image s", "stopping s", "busy before", "image MiB"},
		Rows:    m.sleeps.medians(),
		Notes:   []string{"medians; busy before: orders refused because OpenClaw was at something still, a quarter of a second apart"},
	}}
	if len(m.cools) > 0 {
		tables[2].Notes = append(tables[2].Notes, fmt.Sprintf("compressing and sealing an image took %.1f s (median of %d), in one thread of low priority", quantile(m.cools, 0.5), len(m.cools)))
	}
	return tables
}

// address is the origin by the address that `up` listens at.
func (v *visitor) address() string {
	return "http://127.0.0.1" + v.origin[strings.LastIndexByte(v.origin, ':'):]
}
