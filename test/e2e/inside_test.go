package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// canaryKey stands for a provider's key: it is in the environment and in the
// sealed store of the host, and must be nowhere inside.
const canaryKey = "sk-ant-canary-5f1d2c7b9a"

// hostCanary is an environment on the host that the sandbox must not see.
var hostCanary = []string{
	"MOLTWORKER_DEMO=true", // the key is set, and not used
	"ANTHROPIC_API_KEY=" + canaryKey,
	"HOST_CANARY=host-environment",
}

// probeInside runs what a curious agent would run, and expects to find nothing
// of the host: files, processes, environment, network, keys.
func probeInside(t *testing.T, u *up) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	hostPort := listener.Addr().(*net.TCPAddr).Port
	hostFile := filepath.Join(t.TempDir(), "on-the-host")
	if err := os.WriteFile(hostFile, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	connect := func(host string, port int) string {
		return fmt.Sprintf(`timeout 5 /bin/bash -c 'exec 3<>/dev/tcp/%s/%d' 2>/dev/null && echo reached || echo no`, host, port)
	}
	probes := []struct{ name, line, want string }{
		{"the shadow file", "cat /etc/shadow 2>/dev/null || echo no", "no"},
		{"root's home", "ls -A /root 2>/dev/null | wc -l", "0"},
		{"a file of the host", "cat " + hostFile + " 2>/dev/null || echo no", "no"},
		{"the data directory", "ls " + u.data + " 2>/dev/null || echo no", "no"},
		{"the host's name", "grep -rlw '" + hostname + "' /etc /proc/sys/kernel/hostname 2>/dev/null || echo no", "no"},
		{"the host's accounts", "cut -d: -f1 /etc/passwd | sort | tr '\\n' ' '", "agent nobody root"},
		{"the host's environment", "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c HOST_CANARY || true", "0"},
		{"a key in an environment", "cat /proc/*/environ 2>/dev/null | grep -c '" + canaryKey + "' || true", "0"},
		{"a key on disk", "grep -rlF '" + canaryKey + "' /home /etc /tmp /run /var 2>/dev/null || echo no", "no"},
		{"processes of the host", "cat /proc/*/comm | grep -c -e systemd -e sshd -e '^go$' -e e2e.test || true", "0"},
		{"the metadata service", connect("169.254.169.254", 80), "no"},
		{"a port on the host's loopback", connect("127.0.0.1", hostPort), "no"},
		{"an address outside", connect("192.0.2.7", 443), "no"},
		{"interfaces", "ls /sys/class/net 2>/dev/null | grep -v '^lo$' | wc -l", "0"},
		{"capabilities", "grep CapEff /proc/self/status | tr -s '\\t ' ' '", "CapEff: 0000000000000000"},
		{"new privileges", "grep NoNewPrivs /proc/self/status | tr -s '\\t ' ' '", "NoNewPrivs: 1"},
		{"writing to the system", "touch /usr/bin/x 2>/dev/null || echo no", "no"},
		{"writing to the runtime", "touch /opt/openclaw/x 2>/dev/null || echo no", "no"},
		{"writing at home", "touch $HOME/x && rm $HOME/x && echo yes", "yes"},
		{"the AI gateway", connect("127.0.0.1", 8700), "reached"},
	}
	for _, p := range probes {
		if got := strings.TrimSpace(u.inside(p.line)); got != p.want {
			t.Errorf("%s: got %q, want %q", p.name, got, p.want)
		}
	}
	if os.Getuid() == 0 {
		if got := strings.TrimSpace(u.inside("id -u")); got == "0" {
			t.Error("the agent runs as root although the host could give it a user of its own")
		}
	}
}
