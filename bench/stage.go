package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
)

// Trials are not about numbers: they put an agent, or the AI gateway, through
// something and find fault when anything is lost or left behind. All trials of agents
// share one `up`.
var trials = map[string]func(context.Context, *bench) ([]table, error){
	"soak":    trying(trySoak),
	"chaos":   trying(tryChaos),
	"cron":    trying(tryCron),
	"clock":   trying(tryClock),
	"saving":  trying(trySaving),
	"streams": tryStreams, // on no stage
}

// trying has the stage show what `up` said when a trial has found fault.
func trying(try func(context.Context, *bench) ([]table, error)) func(context.Context, *bench) ([]table, error) {
	return func(ctx context.Context, b *bench) ([]table, error) {
		tables, err := try(ctx, b)
		if err != nil && b.kept.stage != nil {
			b.kept.stage.faulty = true
		}
		return tables, err
	}
}

// trialOrder is that of "trials". Saving, which has a stage of its own, and streams,
// which needs none, are tried by their names.
var trialOrder = []string{"soak", "chaos", "cron", "clock"}

// faults are what a trial found wrong.
type faults struct{ list []error }

func (f *faults) add(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	say("FAULT: %v", err)
	f.list = append(f.list, err)
}

// check adds err if it is one.
func (f *faults) check(err error) {
	if err != nil {
		f.add("%w", err)
	}
}

func (f *faults) err() error { return errors.Join(f.list...) }

// stage is a running `up` with one agent, the conversation with it, and the tab
// on which that is held.
type stage struct {
	*up
	temp    string   // its temporary directory
	more    []string // settings, beside those of every stage
	visitor *visitor
	tab     *tab
	tabs    int // opened so far
	asked   int // questions so far, all answered
	faulty  bool
	log     []byte // what `up` said before it was killed, the newest
}

// agentName is the agent of the stage.
const agentName = "main"

// onStage starts the stage if no earlier trial has.
func (b *bench) onStage(ctx context.Context) (*stage, error) {
	if b.kept.stage != nil {
		return b.kept.stage, nil
	}
	s, err := b.newStage(ctx, "stage")
	b.kept.stage = s // to be ended, however far it came
	return s, err
}

// newStage starts a stage in a directory of that name, with more settings. One that
// it returns beside an error has to be ended too.
func (b *bench) newStage(ctx context.Context, name string, more ...string) (*stage, error) {
	program, err := b.build(ctx)
	if err != nil {
		return nil, err
	}
	s := &stage{temp: filepath.Join(b.dir, name+"-tmp"), more: more}
	if err := os.Mkdir(s.temp, 0o700); err != nil {
		return nil, err
	}
	say("booting an agent for the trials")
	if s.up, err = startUpWith(program, filepath.Join(b.dir, name), "gvisor", "127.0.0.1:0", s.settings()); err != nil {
		return nil, err
	}
	if _, _, err := s.awaitAwake(ctx); err != nil {
		return s, err
	}
	link, err := s.link(ctx, agentName)
	if err != nil {
		return s, err
	}
	if s.visitor, err = visit(ctx, link); err != nil {
		return s, err
	}
	if err := s.visitor.pair(ctx, s.up, agentName); err != nil {
		return s, err
	}
	if err := s.newTab(ctx); err != nil {
		return s, err
	}
	_, err = s.ask(ctx) // the first turn makes files and caches that stay
	return s, err
}

func (s *stage) settings() []string {
	return slices.Concat(sleepless, []string{"TMPDIR=" + s.temp, "MOLTWORKER_LOG_LEVEL=info"}, s.more)
}

// maxLog bounds what is kept of `up`'s log, in bytes.
const maxLog = 32 << 10

// keepLog keeps the newest of what an `up` said that has ended.
func (s *stage) keepLog(end string) {
	s.log = append(append(s.log, s.said.Bytes()...), "-- "+end+"\n"...)
	s.log = s.log[max(0, len(s.log)-maxLog):]
}

// newTab opens the tab, in place of one that has ended.
func (s *stage) newTab(ctx context.Context) error {
	if s.tab != nil {
		s.tab.close()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	t, err := openTab(ctx, s.visitor)
	if err != nil {
		return err
	}
	s.tab = t
	s.tabs++
	return nil
}

// again kills `up` if it runs, and starts it once more on the same address.
func (s *stage) again() error {
	s.kill()
	s.keepLog("killed and started again at " + time.Now().UTC().Format(time.RFC3339))
	u, err := url.Parse(s.visitor.origin)
	if err != nil {
		return err
	}
	next, err := startUpWith(s.program, s.data, "gvisor", "127.0.0.1:"+u.Port(), s.settings())
	if err == nil {
		s.up = next
	}
	return err
}

// answerTimeout bounds a turn, the wake or boot before it included.
const answerTimeout = 2 * time.Minute

// ask asks the next question of the conversation and expects its answer.
func (s *stage) ask(ctx context.Context) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	n := s.asked + 1
	began := time.Now()
	text, err := s.tab.ask(ctx, fmt.Sprintf("bench-%d-%s", n, rand.Text()[:8]), fmt.Sprintf("What is %d + %d?", n, offset))
	if err != nil {
		return 0, err
	}
	s.asked = n
	if want := strconv.Itoa(n + offset); !strings.Contains(text, want) {
		return 0, fmt.Errorf("question %d was answered with %q, which does not say %s", n, text, want)
	}
	return time.Since(began), nil
}

// offset makes the sums of the conversation unmistakable.
const offset = 900000

var (
	questionForm = regexp.MustCompile(`What is (\d+) \+ 900000\?`)
	answerForm   = regexp.MustCompile(`(\d+) \+ 900000 = (\d+)`)
)

// remembers expects every question and its answer in the agent's history, once
// and in order.
func (s *stage) remembers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	messages, err := s.tab.history(ctx)
	if err != nil {
		return err
	}
	return inOrder(messages, s.asked)
}

// inOrder expects the questions 1 to n, each before its answer.
func inOrder(messages []message, n int) error {
	var have []string
	for _, m := range messages {
		switch m.Role {
		case "user":
			for _, found := range questionForm.FindAllStringSubmatch(m.text(), -1) {
				have = append(have, "question "+found[1])
			}
		case "assistant":
			for _, found := range answerForm.FindAllStringSubmatch(m.text(), -1) {
				have = append(have, "answer "+found[2])
			}
		}
	}
	var want []string
	for i := 1; i <= n; i++ {
		want = append(want, fmt.Sprintf("question %d", i), fmt.Sprintf("answer %d", i+offset))
	}
	for i := range max(len(have), len(want)) {
		switch {
		case i >= len(have):
			return fmt.Errorf("the agent's history ends before %s (%d of %d messages)", want[i], len(have), len(want))
		case i >= len(want):
			return fmt.Errorf("the agent's history goes on with %s after %d messages", have[i], len(want))
		case have[i] != want[i]:
			return fmt.Errorf("the agent's history has %s where %s should be", have[i], want[i])
		}
	}
	return nil
}

// inside runs a shell command in the sandbox, which wakes the agent, and gives
// what it wrote.
func (s *stage) inside(ctx context.Context, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	exit, err := s.admin.Exec(ctx, agentName, proto.Exec{Args: []string{"sh", "-c", script}}, nil, &stdout, &stderr)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("exit code %d, signal %d, %s: %s", exit.Code, exit.Signal, exit.Error, stderr.Bytes())
	}
	if err != nil {
		return "", fmt.Errorf("run %.60q inside: %w", script, err)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// gateways expects one gateway inside, and one sandbox on the host.
func (s *stage) gateways(ctx context.Context) error {
	const script = `for p in /proc/[0-9]*; do
		read -r c < $p/comm || continue
		case $c in openclaw*) [ "$(cut -d' ' -f4 $p/stat)" = 1 ] && echo ${p#/proc/};; esac
	done 2>/dev/null; true`
	out, err := s.inside(ctx, script)
	if err != nil {
		return err
	}
	if pids := strings.Fields(out); len(pids) != 1 {
		return fmt.Errorf("%d gateways run inside (%v)", len(pids), pids)
	}
	if n := s.sandboxes(); n != 1 {
		return fmt.Errorf("%d sandboxes of the agent run on the host", n)
	}
	return nil
}

// tunnel forwards its standard streams to the gateway's port, inside.
const tunnel = `const s=require("net").connect(%d,"127.0.0.1");process.stdin.pipe(s);s.pipe(process.stdout);s.on("error",e=>{console.error(e);process.exit(1)})`

// operator is the host's client of the gateway, with all rights. While it is
// open the agent stays awake.
func (s *stage) operator(ctx context.Context) (*gateway.Client, error) {
	own, err := s.inside(ctx, `node -p 'require("`+openclaw.ConfigPath+`").gateway.auth.token'`)
	if err != nil {
		return nil, err
	}
	dial := func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			s.admin.Exec(ctx, agentName, proto.Exec{
				Args: []string{"node", "-e", fmt.Sprintf(tunnel, openclaw.GatewayPort)},
			}, far, far, io.Discard)
		}()
		return near, nil
	}
	return gateway.Dial(ctx, dial, own)
}

// home is the agent's, on the host.
func (s *stage) home(elem ...string) string {
	return filepath.Join(append([]string{s.data, "agents", agentName, "home"}, elem...)...)
}

// end stops the stage. It must leave nothing.
func (s *stage) end() error {
	if s.tab != nil {
		s.tab.close()
	}
	err := s.up.stop()
	if s.keepLog("stopped"); s.faulty {
		fmt.Fprintf(os.Stderr, "· what `up` said:\n%s", s.log)
	}
	return errors.Join(err, s.leftovers())
}
