package pid1

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

// life is one run of the process.
type life struct {
	child  *child
	output sync.WaitGroup
	ready  time.Time // guarded by supervisor.mu, as is over
	over   bool

	mu       sync.Mutex
	lastWord string // the last line of stderr
}

// begin starts the process.
func (s *supervisor) begin(p *proto.Process) (*life, error) {
	pipes, err := openPipes(false)
	if err != nil {
		return nil, err
	}
	cmd := command{args: p.Args, env: p.Env, dir: p.Dir, files: pipes.theirs}
	l := &life{}
	if l.child, err = cmd.start(s.reaper); err != nil {
		pipes.close()
		return nil, err
	}
	pipes.started()
	follow := func(stream string, emit func(string)) {
		from := pipes.stdout
		if stream == "stderr" {
			from = pipes.stderr
		}
		l.output.Go(func() {
			defer from.Close()
			out := &lines{emit: func(text string) { s.journal.log(stream, text); emit(text) }}
			drain(from, l.child.done, func(p []byte) error { out.write(p); return nil })
			out.flush()
		})
	}
	follow("stdout", func(string) {})
	follow("stderr", l.heard)
	return l, nil
}

func (l *life) heard(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastWord = text
}

func (l *life) readyFor(now time.Time) time.Duration {
	if l.ready.IsZero() {
		return 0
	}
	return now.Sub(l.ready)
}

// maxLastWord bounds what a status repeats of stderr.
const maxLastWord = 1 << 10

// describe says how a run ended.
func (l *life) describe(why string) string {
	exit := fmt.Sprintf("exited with code %d", l.child.status.ExitStatus())
	if sig := l.child.status.Signal(); l.child.status.Signaled() {
		exit = fmt.Sprintf("killed by signal %d (%v)", int(sig), sig)
	}
	if why != "" {
		exit = why + ": " + exit
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lastWord != "" {
		exit += ": " + l.lastWord[:min(len(l.lastWord), maxLastWord)]
	}
	return exit
}
