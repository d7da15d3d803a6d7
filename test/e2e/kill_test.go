package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killAndReturn kills, in turn, the gateway, the sandbox and moltworker itself,
// without warning, and expects the conversation to go on each time.
func killAndReturn(t *testing.T, u *up, page context.Context) {
	t.Run("the gateway", func(t *testing.T) {
		from := u.seen()
		before := gatewayPID(t, u)
		u.inside("kill -9 " + before)
		began := time.Now()
		u.awaitAwake(from)
		t.Logf("the gateway came back in %.1f s", time.Since(began).Seconds())
		if after := gatewayPID(t, u); after == before {
			t.Errorf("still process %s", after)
		}
		conversation(t, u, page)
	})

	t.Run("the sandbox's first process", func(t *testing.T) {
		from := u.seen()
		before := sandboxProcesses(t, u.data)
		for _, pid := range before {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		began := time.Now()
		u.awaitAwake(from)
		t.Logf("the sandbox came back in %.1f s", time.Since(began).Seconds())
		conversation(t, u, page)
	})

	t.Run("moltworker itself", func(t *testing.T) {
		before := strings.TrimSpace(u.inside("cat /proc/sys/kernel/random/boot_id; echo; cat /proc/1/stat | cut -d' ' -f22"))
		pids := sandboxProcesses(t, u.data)
		gateway := gatewayPID(t, u)
		address := u.address()
		u.kill()
		if now := sandboxProcesses(t, u.data); len(now) != len(pids) {
			t.Fatalf("the sandbox had %d processes on the host and has %d after moltworker was killed", len(pids), len(now))
		}
		again := u.again(t, "--listen", address)
		began := time.Now()
		again.awaitAwake(0)
		t.Logf("a restarted moltworker took the running agent over in %.1f s", time.Since(began).Seconds())
		if after := strings.TrimSpace(again.inside("cat /proc/sys/kernel/random/boot_id; echo; cat /proc/1/stat | cut -d' ' -f22")); after != before {
			t.Errorf("another sandbox: %q, was %q", after, before)
		}
		if after := gatewayPID(t, again); after != gateway {
			t.Errorf("the gateway is process %s, was %s: it was started again", after, gateway)
		}
		conversation(t, again, page)

		t.Run("and Ctrl-C leaves nothing", func(t *testing.T) {
			if code := again.stop(); code != 0 {
				t.Errorf("ended with code %d", code)
			}
			leavesNothing(t, again.data)
		})
	})
}

// gatewayPID is the process ID of OpenClaw's gateway inside.
func gatewayPID(t *testing.T, u *up) string {
	t.Helper()
	pids := strings.Fields(u.inside(`for p in /proc/[0-9]*; do read -r c < $p/comm; case $c in openclaw*|node) echo ${p#/proc/} $(cut -d' ' -f4 $p/stat);; esac; done | awk '$2==1 {print $1}'`))
	if len(pids) != 1 {
		t.Fatalf("want one gateway under PID 1, found %v:\n%s", pids, u.inside("for p in /proc/[0-9]*; do echo $p $(cat $p/comm) $(cut -d' ' -f4 $p/stat); done"))
	}
	return pids[0]
}

// conversation expects the earlier answer to be there, and a new one to come.
func conversation(t *testing.T, u *up, page context.Context) {
	t.Helper()
	awaitPage(t, page, 2*patience, "the page to be connected again", composer+` !== null && document.querySelector('.login-gate') === null`)
	n := time.Now().UnixNano() % 100000
	say(t, page, "What is "+strconv.FormatInt(n, 10)+" + 900000?")
	want := strconv.FormatInt(900000+n, 10)
	awaitPage(t, page, 3*patience, "the answer "+want, `document.body.innerText.replaceAll(',', '').includes('`+want+`')`)
}

// sandboxProcesses are the host's processes that belong to sandboxes of a data
// directory: those whose command line names it. There must be some.
func sandboxProcesses(t *testing.T, data string) []int {
	t.Helper()
	pids := processesOf(t, data)
	if len(pids) == 0 {
		out, _ := exec.Command("ps", "-eo", "pid,args").Output()
		t.Logf("no sandbox processes of %s among:\n%s", data, out)
	}
	return pids
}

func processesOf(t *testing.T, data string) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, dir := range dirs {
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(cmdline), data) {
			continue
		}
		first, _, _ := strings.Cut(string(cmdline), "\x00")
		if !strings.HasPrefix(filepath.Base(first), "runsc") && filepath.Base(first) != "bwrap" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// leavesNothing expects no process, mount or control group of a data directory.
func leavesNothing(t *testing.T, data string) {
	t.Helper()
	eventually(t, patience, "every process of the data directory ends", func() bool {
		out, err := exec.Command("pgrep", "-f", data).Output()
		return err != nil && len(out) == 0
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), data) {
		t.Errorf("mounts left behind:\n%s", mounts)
	}
	for _, driver := range []string{"gvisor", "process"} {
		sum := sha256.Sum256([]byte(filepath.Join(data, "run", driver)))
		name := "moltworker-" + hex.EncodeToString(sum[:4]) + "-*"
		for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			if groups, err := filepath.Glob(filepath.Join(hierarchy, name)); err != nil || len(groups) > 0 {
				t.Errorf("control groups left behind: %v, %v", groups, err)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(data, "run", "*", "main-*")); err != nil || len(left) > 0 {
		t.Errorf("sandbox state left behind: %v, %v", left, err)
	}
}

// address is HOST:PORT that this moltworker serves.
func (u *up) address() string {
	link := strings.TrimPrefix(u.link(), "http://localhost")
	port, _, _ := strings.Cut(link, "/")
	return "127.0.0.1" + port
}
