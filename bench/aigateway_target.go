package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/test/npm"
)

// target is a server that model calls go through or to, as a process.
type target struct {
	name   string
	base   string // what the path of an API follows in a URL of it
	addr   string
	header http.Header // beside that of every call
	paths  func(form) string
	cmd    *exec.Cmd
	ended  chan struct{}
	said   bytes.Buffer // on standard error; to be read when it has ended
	client *http.Transport
}

// startTarget starts this program as a server of a kind.
func (b *bench) startTarget(ctx context.Context, name, kind string, args ...string) (*target, error) {
	t := &target{name: name, paths: form.path}
	t.cmd = exec.Command(b.self, append([]string{callRole, "-kind", kind}, args...)...)
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("start %s: %w: %s", name, err, t.said.Bytes())
	}
	t.at(strings.TrimSpace(line))
	if kind == kindOurs {
		t.base += "/agent"
	}
	return t, ctx.Err()
}

func (t *target) at(addr string) { t.addr, t.base = addr, "http://"+addr }

// start keeps the thread that forks: the parent-death signal is bound to it.
func (t *target) start() error {
	t.client = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1024}
	t.ended = make(chan struct{})
	t.cmd.Stderr = &t.said
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		err := t.cmd.Start()
		started <- err
		if err == nil {
			t.cmd.Wait()
			close(t.ended)
		}
	}()
	return <-started
}

func (t *target) stop() error {
	t.client.CloseIdleConnections()
	t.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-t.ended:
	case <-time.After(15 * time.Second):
		t.cmd.Process.Kill()
		<-t.ended
		return fmt.Errorf("%s had to be killed: %s", t.name, t.said.Bytes())
	}
	if status, ok := t.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Exited() && status.ExitStatus() != 0 {
		return fmt.Errorf("%s ended with %s: %s", t.name, t.cmd.ProcessState, t.said.Bytes())
	}
	return nil
}

// cpu is the processor time that the target's threads took since it started. The
// clock of a process counts nanoseconds, where /proc counts hundredths of a second.
func (t *target) cpu() (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of the kernel's posix-timers.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^t.cmd.Process.Pid<<3|schedClock), &ts); err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", t.name, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memory is what the target holds, and the most that it ever held, in bytes.
func (t *target) memory() (now, peak int64) {
	status := filepath.Join("/proc", strconv.Itoa(t.cmd.Process.Pid), "status")
	return kib(field(status, "VmRSS")), kib(field(status, "VmHWM"))
}

// look reads what a target says of itself.
func (t *target) look(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := t.client.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s: %s: %s", t.name, resp.Status, text)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// The peer that is measured beside ours, at the version that its lock file pins.
const portkeyVersion = "1.15.2"

//go:embed portkey/package.json portkey/package-lock.json
var portkeyFiles embed.FS

// errNoPeer says why the peer cannot be measured here.
var errNoPeer = errors.New("no row of Portkey")

// loopback has the peer listen there only, as everything does that is measured.
const loopback = `data:text/javascript,import net from "node:net";const listen=net.Server.prototype.listen;net.Server.prototype.listen=function(port,host,...more){return listen.call(this,port,"127.0.0.1",...more)}`

// startPortkey installs the peer if it is missing, and starts it.
func (b *bench) startPortkey(ctx context.Context, model string) (*target, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPeer, err)
	}
	packages, err := installPortkey(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoPeer, err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	t := &target{
		name: "Portkey " + portkeyVersion,
		header: http.Header{
			"X-Portkey-Provider": {"anthropic"}, "X-Portkey-Custom-Host": {"http://" + model + "/v1"},
		},
		paths: func(f form) string { return strings.TrimPrefix(f.path(), "/anthropic") },
	}
	entry := filepath.Join(packages, "@portkey-ai", "gateway", "build", "start-server.js")
	t.cmd = exec.Command(node, "--import", loopback, entry, "--port="+strconv.Itoa(port), "--headless")
	t.cmd.Env = append(os.Environ(), "NODE_ENV=production")
	t.at("127.0.0.1:" + strconv.Itoa(port))
	if err := t.start(); err != nil {
		return nil, err
	}
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", t.addr) }
	if err := listening(ctx, dial); err != nil {
		err = errors.Join(fmt.Errorf("%w: it does not listen: %w", errNoPeer, err), t.stop())
		return nil, fmt.Errorf("%w: %s", err, t.said.Bytes())
	}
	return t, nil
}

// installPortkey keeps the peer's packages in the user's cache, once per machine, and
// returns their directory.
func installPortkey(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	own, err := fs.Sub(portkeyFiles, "portkey")
	if err != nil {
		return "", err
	}
	say("aigateway: Portkey %s, installed first if it is missing", portkeyVersion)
	dir, err := npm.Install(ctx, own, filepath.Join(cache, "moltworker-test", "portkey-"), nil)
	return filepath.Join(dir, "node_modules"), err
}
