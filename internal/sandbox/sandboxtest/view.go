package sandboxtest

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/sandbox"
)

func testProbe(t *testing.T, b *bench) {
	r := b.driver.Probe(b.ctx())
	if r.Driver != b.driver.Name() || r.Summary == "" || len(r.Checks) == 0 {
		t.Errorf("Probe = %+v: incomplete", r)
	}
	if !r.Available {
		t.Errorf("Probe says that the driver cannot run here: %+v", r)
	}
	for _, c := range r.Checks {
		if !c.OK && c.Remedy == "" {
			t.Errorf("check %q is not OK and names no remedy", c.Name)
		}
		t.Logf("%-16s %-5v %s (%s)", c.Name, c.OK, c.Detail, c.Remedy)
	}
	if left := b.remains(); len(left) > 0 {
		t.Errorf("left after Probe: %v", left)
	}
}

// What a guest is and sees.
func testView(t *testing.T, b *bench) {
	secret := filepath.Join(b.out, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOST_SECRET", "do-not-tell")
	unseen := []string{"/etc/shadow", b.out, secret, b.root, b.log, filepath.Join(b.home, "sight.json"), "/etc/machine-id"}
	seen := []string{"/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/usr/bin", "/bin/sh", probePath, "/proc/self/status", "/dev/null"}
	spec := b.spec()
	got := b.look(question{Read: append(unseen, seen...)})

	slices.Sort(got.Env)
	slices.Sort(spec.Env)
	if !slices.Equal(got.Env, spec.Env) {
		t.Errorf("environment = %q, want exactly %q", got.Env, spec.Env)
	}
	if got.Hostname != "probe-host" || got.Dir != "/home/agent" || got.PID != 1 {
		t.Errorf("host name %q, directory %q, PID %d", got.Hostname, got.Dir, got.PID)
	}
	for _, name := range unseen {
		if got.Read[name] == "" {
			t.Errorf("%s of the host can be read", name)
		}
	}
	for _, name := range seen {
		if got.Read[name] != "" {
			t.Errorf("%s cannot be read: %s", name, got.Read[name])
		}
	}
	if len(got.Processes) != 1 || !strings.Contains(got.Processes["1"], probeArg) {
		t.Errorf("processes = %v, want the guest's alone", got.Processes)
	}
	for _, field := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"} {
		if strings.Trim(got.Status[field], "0") != "" {
			t.Errorf("%s = %s, want none", field, got.Status[field])
		}
	}
	if got.Status["NoNewPrivs"] != "1" {
		t.Errorf("NoNewPrivs = %q, want 1", got.Status["NoNewPrivs"])
	}
	checkOpen(t, got)
	checkPasswd(t, got)
}

// checkOpen looks for descriptors that are not the guest's own. A pipe of its
// own has both ends there.
func checkOpen(t *testing.T, got sight) {
	t.Helper()
	count := map[string]int{}
	for _, what := range got.Open {
		count[what]++
	}
	for fd, what := range got.Open {
		n, _ := strconv.Atoi(fd)
		own := what == "" || strings.HasPrefix(what, "anon_inode:") || strings.HasPrefix(what, "/proc") || strings.HasPrefix(what, "/sys") ||
			strings.HasPrefix(what, "pipe:") && count[what] == 2
		if n > 2 && !own {
			t.Errorf("descriptor %s is %s: a leak from the host", fd, what)
		}
	}
}

func checkPasswd(t *testing.T, got sight) {
	t.Helper()
	if os.Geteuid() == 0 && mappedRoot() && got.UID == 0 {
		t.Error("the guest runs as root though the driver could choose")
	}
	var names []string
	for line := range strings.Lines(got.Passwd) {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
		if name == "agent" && !strings.HasPrefix(line, "agent:x:"+strconv.Itoa(got.UID)+":"+strconv.Itoa(got.GID)+":") {
			t.Errorf("passwd says %q, but the guest is %d:%d", line, got.UID, got.GID)
		}
	}
	for _, name := range names {
		if !slices.Contains([]string{"root", "agent", "nobody"}, name) {
			t.Errorf("/etc/passwd has %q: the host's accounts are nobody's business", name)
		}
	}
}

// mappedRoot says whether this process is root of more than one user.
func mappedRoot() bool {
	content, _ := os.ReadFile("/proc/self/uid_map")
	return !regexp.MustCompile(`^\s*0\s+\d+\s+1\s*$`).Match(content)
}

// What a guest can write, and where it comes out on the host.
func testWrites(t *testing.T, b *bench) {
	shared := filepath.Join(b.out, "shared")
	readOnly := filepath.Join(b.out, "read-only")
	nested := filepath.Join(b.home, "old", "tree")
	for _, dir := range []string{shared, readOnly, nested} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What the host wrote to the private mount before belongs to the guest now;
	// a link in it to somewhere else gives nothing away.
	outside := filepath.Join(b.out, "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(nested, "link")); err != nil {
		t.Fatal(err)
	}
	before := owner(t, outside)

	writable := []string{"/home/agent", "/home/agent/old/tree", "/tmp", "/var/tmp", "/dev/shm"}
	refused := []string{"/mnt/read-only", "/usr", "/usr/bin", "/etc/alternatives", "/proc"}
	got := b.look(question{Write: append(writable, refused...)}, func(s *sandbox.Spec) {
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: readOnly, Destination: "/mnt/read-only", ReadOnly: true})
	})
	for _, dir := range writable {
		if got.Write[dir] != "" {
			t.Errorf("write to %s: %s", dir, got.Write[dir])
		}
	}
	for _, dir := range refused {
		if got.Write[dir] == "" && !(dir == "/etc/alternatives" && got.UID == 0) { // its own root may, in memory
			t.Errorf("write to %s worked", dir)
		}
	}
	for _, name := range []string{filepath.Join(b.home, "written"), filepath.Join(nested, "written")} {
		if content, err := os.ReadFile(name); err != nil || string(content) != "from inside\n" {
			t.Errorf("%s on the host = %q, %v", name, content, err)
		}
	}
	if entries, _ := os.ReadDir(readOnly); len(entries) != 0 {
		t.Errorf("the read-only mount's source has %v", entries)
	}
	if after := owner(t, outside); after != before {
		t.Errorf("a link in the private mount changed its target's owner from %d to %d", before, after)
	}
}

// No way out but a mounted socket.
func testNetwork(t *testing.T, b *bench) {
	tcp := echo(t, "tcp", "127.0.0.1:0")
	sockets := filepath.Join(b.out, "sockets")
	if err := os.Mkdir(sockets, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(sockets, "s")
	echo(t, "unix", socket)
	// The guest is somebody else; what hides the socket from others is the
	// directory above.
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	dials := []string{tcp, "169.254.169.254:80", "1.1.1.1:443", "[2606:4700:4700::1111]:443"}
	got := b.look(question{Dial: dials, Unix: []string{"/run/mw/s"}}, func(s *sandbox.Spec) {
		s.Mounts = append(s.Mounts, sandbox.Mount{Source: sockets, Destination: "/run/mw", ReadOnly: true})
	})
	for _, addr := range dials {
		if got.Dial[addr] == "" {
			t.Errorf("the guest reached %s", addr)
		}
	}
	if err := got.Unix["/run/mw/s"]; err != "" {
		t.Errorf("the mounted socket: %s", err)
	}
	if !slices.Equal(got.Interfaces, []string{"lo"}) {
		t.Errorf("interfaces = %v, want lo alone", got.Interfaces)
	}
}

// echo listens on the host until the test ends and says back what it hears.
func echo(t *testing.T, network, addr string) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}
