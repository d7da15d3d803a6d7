package rootfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// A host of a few files: what a root shows of it, and what it must not.
func testHost(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	files := map[string]fs.FileMode{
		"usr/bin/sh":                         0o755,
		"usr/lib/os-release":                 0o644,
		"usr/share/zoneinfo/Asia/Tokyo":      0o644,
		"lib64/ld.so":                        0o755,
		"etc/passwd":                         0o644,
		"etc/shadow":                         0o600,
		"etc/hostname":                       0o644,
		"etc/environment":                    0o644,
		"etc/ld.so.cache":                    0o644,
		"etc/ld.so.conf.d/x.conf":            0o644,
		"etc/ssl/certs/ca-certificates.crt":  0o644,
		"etc/ssl/certs/ssl-cert-myhost.pem":  0o644,
		"etc/ssl/private/key.pem":            0o600,
		"etc/ssl/openssl.cnf":                0o600, // not for everybody's eyes
		"etc/alternatives/not-a-link":        0o644,
		"etc/machine-id":                     0o644,
		"var/lib/secret":                     0o644,
		"home/someone/.ssh/id_ed25519":       0o600,
		"etc/ca-certificates/update.d/hooks": 0o755,
	}
	for name, mode := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("host's "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"bin": "usr/bin", "lib": "usr/lib", "sbin": "/usr/sbin",
		"etc/alternatives/awk": "/usr/bin/mawk",
		"etc/localtime":        "/usr/share/zoneinfo/Asia/Tokyo",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestScan(t *testing.T) {
	h, err := Scan(testHost(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/usr", "/lib64"}; !slices.Equal(h.Binds, want) {
		t.Errorf("Binds = %v, want %v", h.Binds, want)
	}
	if want := []Link{{"/bin", "usr/bin"}, {"/sbin", "/usr/sbin"}, {"/lib", "usr/lib"}}; !slices.Equal(h.Links, want) {
		t.Errorf("Links = %v, want %v", h.Links, want)
	}
	if _, err := Scan(t.TempDir()); err == nil {
		t.Error("Scan of a host without /usr = nil, want an error")
	}
}

func TestWrite(t *testing.T) {
	h, err := Scan(testHost(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "root")
	guest := Guest{Hostname: "gast", UID: 64321, GID: 64321, OwnerUID: os.Getuid(), OwnerGID: os.Getgid()}
	mounts := []sandbox.Mount{{Source: t.TempDir(), Destination: "/opt/openclaw"}, {Source: file, Destination: "/run/mw-bin/moltworker"}}
	if err := h.Write(dir, guest, mounts); err != nil {
		t.Fatal(err)
	}

	var all []string
	filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		}
		content, _ := os.ReadFile(name)
		all = append(all, strings.TrimPrefix(name, dir)+"\t"+string(content))
		return nil
	})
	text := strings.Join(all, "\n")
	for _, want := range []string{
		"/etc/passwd\troot:x:0:0:", "agent:x:64321:64321:agent:/home/agent:", "/etc/hostname\tgast\n",
		"/etc/ld.so.cache\thost's", "/etc/ld.so.conf.d/x.conf\thost's", "/etc/ssl/certs/ca-certificates.crt\thost's",
		"/etc/resolv.conf\t\n", "/etc/alternatives/awk", "/opt/openclaw", "/run/mw-bin/moltworker", "/usr\t", "/bin\t",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the root lacks %q", want)
		}
	}
	for _, bad := range []string{"/etc/shadow", "/etc/environment", "machine-id", "myhost", "key.pem", "secret", "someone", "openssl.cnf", "not-a-link", "host's etc/passwd", "host's etc/hostname"} {
		if strings.Contains(text, bad) {
			t.Errorf("the root has %q of the host", bad)
		}
	}
	for name, want := range map[string]fs.FileMode{"/": 0o755, "/tmp": 0o777 | fs.ModeSticky, "/home/agent": 0o700, "/etc/passwd": 0o644, "/root": 0o700, "/opt/openclaw": 0o755, "/run/mw-bin": 0o755, "/etc/ssl/certs": 0o755} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&^fs.ModeDir != want {
			t.Errorf("mode of %s = %v, %v; want %v in spite of the umask", name, info.Mode(), err, want)
		}
	}
	if target, _ := os.Readlink(filepath.Join(dir, "etc/localtime")); target != "/usr/share/zoneinfo/Asia/Tokyo" {
		t.Errorf("localtime -> %q", target)
	}
}

func TestMountPoints(t *testing.T) {
	h, err := Scan(testHost(t))
	if err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	tests := []struct {
		m  sandbox.Mount
		ok bool
	}{
		{sandbox.Mount{Source: source, Destination: "/mnt/deep/down"}, true},
		{sandbox.Mount{Source: source, Destination: "/usr/bin"}, true}, // is there
		{sandbox.Mount{Source: source, Destination: "/usr/nothing"}, false},
		{sandbox.Mount{Source: source, Destination: "/bin/nothing"}, false}, // a link into /usr
		{sandbox.Mount{Source: source + "/gone", Destination: "/mnt/x"}, false},
	}
	for _, tt := range tests {
		err := h.Write(filepath.Join(t.TempDir(), "root"), Guest{OwnerUID: os.Getuid(), OwnerGID: os.Getgid()}, []sandbox.Mount{tt.m})
		if (err == nil) != tt.ok {
			t.Errorf("mount at %s: %v", tt.m.Destination, err)
		}
	}
}

func TestInMap(t *testing.T) {
	tests := []struct {
		content string
		want    bool
	}{
		{"         0          0 4294967295\n", true},
		{"0 1000 1\n", false},
		{"0 100000 65536\n", true},
		{"0 1000 1\n1 100000 65535\n", true},
		{"", false},
		{"garbage\n0 x 1\n", false},
	}
	for _, tt := range tests {
		if got := inMap(tt.content, GuestID); got != tt.want {
			t.Errorf("inMap(%q) = %v, want %v", tt.content, got, tt.want)
		}
	}
}
