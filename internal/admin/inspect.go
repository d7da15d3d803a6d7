package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/secret"
)

// What the debug routes ask. Each wakes the agent unless it says otherwise.

// Bounds of an inspection.
const (
	maxOutput   = 1 << 20 // bytes of each stream of a command that are kept
	inspectTime = 10 * time.Second
	maxBody     = 1 << 20 // bytes of an answer of the gateway that are kept
)

// Output is what a command came to.
type Output struct {
	Exit   proto.ExecExit
	Stdout string
	Stderr string
	Cut    bool // there was more output than is kept
}

// Run runs a command in an agent without input, for up to limit, and keeps the
// beginning of what it prints.
func (p *Plane) Run(ctx context.Context, name string, args []string, limit time.Duration) (Output, error) {
	var stdout, stderr bounded
	exit, err := p.Exec(ctx, name, proto.Exec{Args: args, Timeout: proto.Duration(limit)}, nil, &stdout, &stderr)
	return output(exit, &stdout, &stderr, p.opts.Redact), err
}

// bounded keeps the first maxOutput bytes written to it.
type bounded struct {
	buf bytes.Buffer
	cut bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := maxOutput - b.buf.Len()
	b.cut = b.cut || len(p) > room
	b.buf.Write(p[:min(len(p), room)])
	return len(p), nil
}

func output(exit proto.ExecExit, stdout, stderr *bounded, show func(string) string) Output {
	return Output{exit, show(stdout.buf.String()), show(stderr.buf.String()), stdout.cut || stderr.cut}
}

// Process is a process inside an agent's sandbox.
type Process struct {
	PID     int
	Command string    // with its arguments
	State   string    // one letter, as the kernel has it: R, S, D, Z
	Started time.Time // zero when unknown
}

// listProcesses prints, for each process, its stat line and its command, with
// the machine's time since boot first.
const listProcesses = `cat /proc/uptime; for p in /proc/[0-9]*; do
	cat $p/stat 2>/dev/null && { tr '\0\n' '  ' < $p/cmdline; echo; }; done; :` // the last one may have ended meanwhile

// Processes lists the processes in an agent's sandbox.
func (p *Plane) Processes(ctx context.Context, name string) ([]Process, error) {
	out, err := p.inspect(ctx, name, []string{"/bin/sh", "-c", listProcesses})
	if err != nil {
		return nil, err
	}
	return parseProcesses(p.opts.Redact(out), p.opts.Now()), nil
}

// clockTicks is the unit of start times in /proc, in Hz; the same on every Linux.
const clockTicks = 100

func parseProcesses(text string, now time.Time) []Process {
	lines := strings.Split(text, "\n")
	up, _, _ := strings.Cut(lines[0], " ")
	uptime, err := strconv.ParseFloat(up, 64)
	found := []Process{}
	for i := 1; i+1 < len(lines); i += 2 {
		open, shut := strings.IndexByte(lines[i], '('), strings.LastIndexByte(lines[i], ')')
		if open < 0 || shut < open {
			continue
		}
		pid, pidErr := strconv.Atoi(strings.TrimSpace(lines[i][:open]))
		fields := strings.Fields(lines[i][shut+1:])
		if pidErr != nil || len(fields) < 20 {
			continue
		}
		one := Process{PID: pid, State: fields[0], Command: strings.TrimSpace(lines[i+1])}
		if one.Command == "" {
			one.Command = "[" + lines[i][open+1:shut] + "]"
		}
		if ticks, startErr := strconv.ParseFloat(fields[19], 64); startErr == nil && err == nil {
			one.Started = now.Add(-time.Duration((uptime - ticks/clockTicks) * float64(time.Second))).UTC()
		}
		found = append(found, one)
	}
	return found
}

// inspect runs a command of ours in an agent, for those who may debug.
func (p *Plane) inspect(ctx context.Context, name string, args []string) (string, error) {
	ag, err := p.find(ctx, name, access.ReadDebug)
	if err != nil {
		return "", err
	}
	var stdout, stderr bounded
	cmd := proto.Exec{Args: args, Dir: "/", Timeout: proto.Duration(inspectTime)}
	exit, err := ag.Exec(ctx, cmd, nil, &stdout, &stderr)
	switch {
	case err != nil:
		return "", err
	case exit.Error != "" || exit.Code != 0:
		return "", fmt.Errorf("%s ended with code %d: %s", args[0], exit.Code, p.opts.Redact(strings.TrimSpace(exit.Error+" "+stderr.buf.String())))
	case stdout.cut:
		return "", fmt.Errorf("%s printed more than %d bytes", args[0], maxOutput)
	}
	return stdout.buf.String(), nil
}

// Config returns an agent's openclaw.json as JSON values, without secrets.
func (p *Plane) Config(ctx context.Context, name string) (any, error) {
	text, err := p.inspect(ctx, name, []string{"cat", openclaw.ConfigPath})
	if err != nil {
		return nil, err
	}
	return openclaw.Redact([]byte(text), p.opts.Redact)
}

// Has says of each of these secrets whether there is one, sealed or configured.
// It touches no agent.
func (p *Plane) Has(ctx context.Context, names ...string) (map[string]bool, error) {
	if err := p.may(ctx, access.ReadDebug); err != nil {
		return nil, err
	}
	configured, has := p.opts.Configured(), map[string]bool{}
	for _, name := range names {
		_, has[name] = configured[name]
		_, _, err := p.opts.Secrets.Get(name)
		if err != nil && !errors.Is(err, secret.ErrNotFound) {
			return nil, err
		}
		has[name] = has[name] || err == nil
	}
	return has, nil
}

// Answer is one of the gateway's own HTTP API.
type Answer struct {
	Status      int
	ContentType string
	Body        string
	Cut         bool // there was more of it than is kept
}

// GatewayGet asks an agent's gateway for a path of its own HTTP, as its owner.
func (p *Plane) GatewayGet(ctx context.Context, name, target string) (Answer, error) {
	ag, err := p.find(ctx, name, access.ExecAgents)
	if err != nil {
		return Answer{}, err
	}
	if err := checkPath(target); err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	done, err := ag.Use(ctx, "administration")
	if err != nil {
		return Answer{}, err
	}
	defer done()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort("127.0.0.1", strconv.Itoa(openclaw.GatewayPort))+target, nil)
	if err != nil {
		return Answer{}, invalid("that is no path", "")
	}
	req.Header.Set("Authorization", "Bearer "+p.opts.Token(ag.Name()))
	transport := &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return ag.DialGateway(ctx) },
	}
	resp, err := transport.RoundTrip(req) // follows no redirect
	if err != nil {
		return Answer{}, fmt.Errorf("ask the gateway: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return Answer{}, fmt.Errorf("read the gateway's answer: %w", err)
	}
	a := Answer{Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"), Cut: len(body) > maxBody}
	a.Body = p.opts.Redact(string(body[:min(len(body), maxBody)]))
	return a, nil
}

// checkPath lets absolute paths through that mean the same to everybody.
func checkPath(target string) error {
	plain, _, _ := strings.Cut(target, "?")
	bad := len(target) > 2048 || !strings.HasPrefix(plain, "/") || strings.ContainsAny(plain, `\%;`) ||
		strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' }) ||
		strings.Contains(plain, "//") || path.Clean(plain) != plain && path.Clean(plain)+"/" != plain
	if bad {
		return invalid("want an absolute path without tricks: /startupz", "")
	}
	return nil
}
