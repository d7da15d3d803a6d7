package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/pid1"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

var quiet = slog.New(slog.DiscardHandler)

// startHost listens in dir until stop is called.
func startHost(t testing.TB, dir string, services map[string]guest.Service) (h *guest.Host, stop func()) {
	t.Helper()
	h, err := guest.Listen(guest.Options{Dir: dir, Services: services, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return h, background(t, h.Run)
}

// startGuest runs a guest in this process until stop is called or it ends.
func startGuest(t testing.TB, dir string, forwards map[int]string) (stop func(), ended <-chan struct{}) {
	t.Helper()
	g := pid1.New(pid1.Options{
		Socket:   filepath.Join(dir, guest.SocketName),
		Forwards: forwards,
		Env:      append(os.Environ(), "WHO=guest", "KEPT=yes"),
		Log:      quiet,
	})
	done := make(chan struct{})
	stop = background(t, func(ctx context.Context) error {
		defer close(done)
		return g.Run(ctx)
	})
	return stop, done
}

func background(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, link.ErrClosed) {
			t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// start gives a host with a guest connected to it.
func start(t testing.TB) *guest.Host {
	t.Helper()
	dir := t.TempDir()
	h, _ := startHost(t, dir, nil)
	startGuest(t, dir, nil)
	connected(t, h)
	return h
}

func connected(t testing.TB, h *guest.Host) {
	t.Helper()
	if err := h.Connected(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// soon is a context for what should not take long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := soon(t)
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func sh(script string) proto.Exec { return proto.Exec{Args: []string{"sh", "-c", script}} }

func TestExec(t *testing.T) {
	h := start(t)
	for name, c := range map[string]struct {
		cmd      proto.Exec
		stdin    string
		out, err string
		exit     proto.ExecExit
	}{
		"output":           {cmd: sh("echo out; echo err >&2; exit 3"), out: "out\n", err: "err\n", exit: proto.ExecExit{Code: 3}},
		"signal":           {cmd: sh("kill -9 $$"), exit: proto.ExecExit{Code: -1, Signal: 9}},
		"environment":      {cmd: proto.Exec{Args: []string{"sh", "-c", "echo $WHO $KEPT $PWD"}, Env: []string{"WHO=exec"}, Dir: "/"}, out: "exec yes /\n"},
		"stdin":            {cmd: proto.Exec{Args: []string{"cat"}, Stdin: true}, stdin: strings.Repeat("x", 300_000), out: strings.Repeat("x", 300_000)},
		"no stdin":         {cmd: proto.Exec{Args: []string{"cat"}}},
		"stdin not read":   {cmd: proto.Exec{Args: []string{"true"}, Stdin: true}, stdin: strings.Repeat("x", 3_000_000)},
		"much output":      {cmd: sh("head -c 3000000 /dev/zero | tr '\\0' y"), out: strings.Repeat("y", 3_000_000)},
		"a child left":     {cmd: sh("sleep 1000 & echo done"), out: "done\n"},
		"an escaped child": {cmd: sh("setsid sh -c 'sleep 2' & echo done"), out: "done\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			var stdin io.Reader
			if c.cmd.Stdin {
				stdin = strings.NewReader(c.stdin)
			}
			exit, err := h.Exec(soon(t), c.cmd, stdin, &out, &errs)
			if err != nil || exit != c.exit {
				t.Errorf("exit %+v, %v; want %+v", exit, err, c.exit)
			}
			if out.String() != c.out || errs.String() != c.err {
				t.Errorf("%d bytes out, %d err; want %d, %d", out.Len(), errs.Len(), len(c.out), len(c.err))
			}
		})
	}
}

func TestExecThatCannotStart(t *testing.T) {
	h := start(t)
	exit, err := h.Exec(soon(t), proto.Exec{Args: []string{"no-such-program"}}, nil, io.Discard, io.Discard)
	if err != nil || !strings.Contains(exit.Error, "not found in PATH") {
		t.Errorf("exit %+v, %v", exit, err)
	}
	exit, err = h.Exec(soon(t), proto.Exec{Args: []string{"true"}, Dir: "/no/such/directory"}, nil, io.Discard, io.Discard)
	if err != nil || exit.Error == "" {
		t.Errorf("exit %+v, %v", exit, err)
	}
	if _, err = h.Exec(soon(t), proto.Exec{}, nil, io.Discard, io.Discard); err == nil {
		t.Error("ran nothing")
	}
}

// A command that takes too long dies with all its children.
func TestExecTimeoutKillsTheGroup(t *testing.T) {
	h := start(t)
	cmd := sh("sleep 1000 & echo $!; wait")
	cmd.Timeout = proto.Duration(200 * time.Millisecond)
	var out bytes.Buffer
	exit, err := h.Exec(soon(t), cmd, nil, &out, io.Discard)
	if err != nil || !exit.TimedOut || exit.Signal != int(syscall.SIGKILL) {
		t.Errorf("exit %+v, %v", exit, err)
	}
	waitFor(t, "dead child", func() bool { return dead(t, out.String()) })
}

// dead says whether the process whose number is in text runs no more. Nobody
// need have reaped it.
func dead(t testing.TB, text string) bool {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// notes is a writer that can be looked at meanwhile.
type notes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

func TestExecDiesWithItsCaller(t *testing.T) {
	h := start(t)
	for name, script := range map[string]string{
		"silent":           "echo $$; sleep 1000",
		"not reading":      "echo $$; sleep 1000",
		"full of output":   "echo $$; yes",
		"deaf to SIGTERM":  "trap '' TERM; echo $$; sleep 1000",
		"with its own pid": "echo $$; exec sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(soon(t))
			cmd := sh(script)
			cmd.Stdin = name == "not reading"
			var out notes
			done := make(chan error, 1)
			go func() {
				_, err := h.Exec(ctx, cmd, endless{}, &out, io.Discard)
				done <- err
			}()
			waitFor(t, "process", func() bool { return strings.Contains(out.String(), "\n") })
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			pid, _, _ := strings.Cut(out.String(), "\n")
			waitFor(t, "dead process", func() bool { return dead(t, pid) })
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestExecDiesWithTheHost(t *testing.T) {
	dir := t.TempDir()
	h, stop := startHost(t, dir, nil)
	startGuest(t, dir, nil)
	connected(t, h)
	var out notes
	go h.Exec(soon(t), sh("echo $$; sleep 1000"), nil, &out, io.Discard)
	waitFor(t, "process", func() bool { return strings.Contains(out.String(), "\n") })
	stop()
	startHost(t, dir, nil) // which knows nothing of the command
	waitFor(t, "dead process", func() bool { return dead(t, out.String()) })
}

func TestFiles(t *testing.T) {
	h := start(t)
	ctx := soon(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "file")
	if _, err := h.ReadFile(ctx, path, 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	for _, content := range []string{"hello", "", "world"} {
		if err := h.WriteFile(ctx, path, []byte(content), 0); err != nil {
			t.Fatal(err)
		}
		if got, err := h.ReadFile(ctx, path, 5); err != nil || string(got) != content {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("file is %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind %v", left)
	}
	var no *guest.Refusal
	if _, err := h.ReadFile(ctx, path, 4); !errors.As(err, &no) || no.Code != "too_large" {
		t.Errorf("file over the limit: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/zero", "relative"} {
		if _, err := h.ReadFile(ctx, path, 4); !errors.As(err, &no) || no.Code != "invalid" {
			t.Errorf("read %s: %v", path, err)
		}
	}
	if err := h.WriteFile(ctx, "relative", nil, 0); err == nil {
		t.Error("wrote to a relative path")
	}
	big := bytes.Repeat([]byte{0xff}, 1<<20)
	if err := h.WriteFile(ctx, path, big, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := h.ReadFile(ctx, path, 1<<21); err != nil || !bytes.Equal(got, big) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestDialPort(t *testing.T) {
	h := start(t)
	ctx := soon(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	go func() { // reads all, then answers: needs half-close
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			got, _ := io.ReadAll(c)
			fmt.Fprintf(c, "got %d bytes", len(got))
			c.Close()
		}
	}()
	conn, err := h.DialPort(ctx, port)
	if err != nil {
		t.Fatal(err)
	}
	conn.Write(make([]byte, 1_000_000))
	conn.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "got 1000000 bytes" {
		t.Errorf("read %q, %v", got, err)
	}
	conn.Close()
	ln.Close()
	if _, err := h.DialPort(ctx, port); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nothing listens: %v", err)
	}
	if _, err := h.DialPort(ctx, 0); err == nil {
		t.Error("connected to port 0")
	}
}

// A browser tab that is closed must be seen by the server inside, though no
// byte was on its way.
func TestClosedConnectionReachesTheServerInside(t *testing.T) {
	h := start(t)
	gone := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		return h.DialPort(ctx, n)
	}}}
	resp, err := client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-gone
}

func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestServiceServedByHTTP(t *testing.T) {
	dir := t.TempDir()
	listener := guest.NewServiceListener()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})}
	go srv.Serve(listener)
	defer srv.Close()
	h, _ := startHost(t, dir, map[string]guest.Service{"echo": listener})
	echo, nowhere := freePort(t), freePort(t)
	startGuest(t, dir, map[int]string{echo: "echo", nowhere: "nowhere"})
	connected(t, h)
	client := &http.Client{Timeout: 20 * time.Second}
	for range 20 {
		body := strings.Repeat("body", 50_000)
		resp, err := client.Post(fmt.Sprintf("http://127.0.0.1:%d/", echo), "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != body {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	if resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", nowhere)); err == nil {
		resp.Body.Close()
		t.Error("reached a service that there is not")
	}
}

func TestForwardWaitsForTheHost(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	startGuest(t, dir, map[int]string{port: "hello"})
	var conn net.Conn
	waitFor(t, "listener", func() (ok bool) {
		var err error
		conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err == nil
	})
	startHost(t, dir, map[string]guest.Service{"hello": greeter{}})
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
}

type greeter struct{}

func (greeter) ServeConn(c net.Conn) {
	io.WriteString(c, "hello")
	c.Close()
}
