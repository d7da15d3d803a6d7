package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is a process to be started: leader of its own session, and with it of
// a process group that can be killed as a whole.
type command struct {
	args  []string
	env   []string
	dir   string
	files [3]*os.File // stdin, stdout, stderr of the child
}

// start starts it. The files stay open here.
func (c command) start(r *reaper) (*child, error) {
	path, err := lookPath(c.args, c.env, c.dir)
	if err != nil {
		return nil, err
	}
	attr := &syscall.ProcAttr{Dir: c.dir, Env: c.env, Sys: &syscall.SysProcAttr{Setsid: true}}
	for _, f := range c.files {
		attr.Files = append(attr.Files, f.Fd())
	}
	child, err := r.start(func() (int, error) { return syscall.ForkExec(path, c.args, attr) })
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return child, nil
}

// lookPath finds the program by the PATH that it will have.
func lookPath(args, env []string, dir string) (string, error) {
	if len(args) == 0 || args[0] == "" {
		return "", errors.New("no command given")
	}
	if strings.Contains(args[0], "/") {
		return args[0], nil // relative to dir, as the kernel sees it after chdir
	}
	for _, p := range filepath.SplitList(lookup(env, "PATH")) {
		path := filepath.Join(p, args[0])
		if !filepath.IsAbs(path) {
			continue // never the directory that happens to be current
		}
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not found in PATH", args[0])
}

// lookup finds the last value of name in env.
func lookup(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// merge is base with the variables of more added or replaced.
func merge(base, more []string) []string {
	set := map[string]bool{}
	for _, kv := range more {
		name, _, _ := strings.Cut(kv, "=")
		set[name] = true
	}
	var env []string
	for _, kv := range base {
		if name, _, _ := strings.Cut(kv, "="); !set[name] {
			env = append(env, kv)
		}
	}
	return append(env, more...)
}

// pipes are the ends of a child's standard streams: ours and the child's.
type pipes struct {
	stdin          *os.File // nil: the child has /dev/null
	stdout, stderr *os.File
	theirs         [3]*os.File
}

func openPipes(stdin bool) (p pipes, err error) {
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if stdin {
		p.theirs[0], p.stdin, err = os.Pipe()
	} else {
		p.theirs[0], err = os.Open(os.DevNull)
	}
	if err != nil {
		return p, err
	}
	if p.stdout, p.theirs[1], err = os.Pipe(); err != nil {
		return p, err
	}
	p.stderr, p.theirs[2], err = os.Pipe()
	return p, err
}

// started closes the child's ends, which the child has now.
func (p *pipes) started() {
	for i, f := range p.theirs {
		if f != nil {
			f.Close()
		}
		p.theirs[i] = nil
	}
}

func (p *pipes) close() {
	p.started()
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// straggle is how long output is still waited for after a process has ended:
// what escaped from its group may hold the other end of a pipe for ever.
const straggle = 200 * time.Millisecond

// drain reads f to its end, or, once over is closed, until nothing has come for
// a moment.
func drain(f *os.File, over <-chan struct{}, take func([]byte) error) error {
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-over:
			f.SetReadDeadline(time.Now().Add(straggle))
		case <-finished:
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if err := take(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return drainRest(f, buf, take)
		}
		if err != nil {
			return nil
		}
	}
}

// maxStraggling bounds what is taken from an ended process's pipe; it is more
// than a pipe holds.
const maxStraggling = 4 << 20

// drainRest takes what is in the pipe already.
func drainRest(f *os.File, buf []byte, take func([]byte) error) error {
	for total := 0; total < maxStraggling; {
		f.SetReadDeadline(time.Now().Add(straggle / 10))
		n, err := f.Read(buf)
		if n == 0 || err != nil {
			return nil
		}
		if err := take(buf[:n]); err != nil {
			return err
		}
		total += n
	}
	return nil
}
