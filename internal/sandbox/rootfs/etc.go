package rootfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxCopy bounds a file that is copied from the host's /etc.
const maxCopy = 8 << 20

// copied are the host's files that a root gets a copy of: how to find shared
// libraries, whom TLS trusts, what time it is. None of them names the host or
// its people. Copies, not mounts: /etc/ssl/certs may also hold certificates
// with the host's name in them.
var copied = []string{
	"/etc/ld.so.cache",
	"/etc/ld.so.conf",
	"/etc/ssl/openssl.cnf",
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine, Arch
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
	"/etc/pki/tls/cert.pem",                             // Fedora, RHEL
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
	"/etc/ca-certificates.conf",
}

func (h Host) etc(b *builder, g Guest) {
	b.file("/etc/passwd", passwd(g))
	b.file("/etc/group", group(g))
	b.file("/etc/hostname", g.Hostname+"\n")
	b.file("/etc/hosts", "127.0.0.1 localhost "+g.Hostname+"\n::1 localhost ip6-localhost ip6-loopback\n")
	b.file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n")
	b.file("/etc/resolv.conf", "") // there is no network to ask over
	b.symlink("/proc/self/mounts", "/etc/mtab")

	for _, name := range copied {
		h.copyFile(b, name)
	}
	confs, _ := filepath.Glob(h.path("/etc/ld.so.conf.d/*.conf"))
	for _, full := range confs {
		h.copyFile(b, "/etc/ld.so.conf.d/"+filepath.Base(full))
	}
	if info, err := os.Stat(h.path("/usr/lib/os-release")); err == nil && info.Mode().IsRegular() {
		b.symlink("../usr/lib/os-release", "/etc/os-release")
	}
	h.copyAlternatives(b)
	h.copyLocaltime(b)
}

// passwd has root, nobody and the guest's user. Without a user of its own
// (UID 0) the guest is root and lives in the same home.
func passwd(g Guest) string {
	rootHome := "/root"
	if g.UID == 0 {
		rootHome = Home
	}
	lines := fmt.Sprintf("root:x:0:0:root:%s:/bin/sh\n", rootHome)
	if g.UID != 0 {
		lines += fmt.Sprintf("agent:x:%d:%d:agent:%s:/bin/sh\n", g.UID, g.GID, Home)
	}
	return lines + "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
}

func group(g Guest) string {
	lines := "root:x:0:\ntty:x:5:\n"
	if g.GID != 0 {
		lines += fmt.Sprintf("agent:x:%d:\n", g.GID)
	}
	return lines + "nogroup:x:65534:\n"
}

// copyFile copies what everybody on the host may read; the rest, and what is
// not there, is passed over.
func (h Host) copyFile(b *builder, name string) {
	f, err := os.Open(h.path(name))
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o004 == 0 || info.Size() > maxCopy {
		return
	}
	content, err := io.ReadAll(io.LimitReader(f, maxCopy))
	if err != nil {
		return
	}
	b.file(name, string(content))
}

// copyAlternatives repeats Debian's links, through which /usr/bin/awk and many
// others go.
func (h Host) copyAlternatives(b *builder) {
	entries, err := os.ReadDir(h.path("/etc/alternatives"))
	if err != nil {
		return
	}
	b.mkdir("/etc/alternatives", 0o755)
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		name := "/etc/alternatives/" + e.Name()
		if target, err := os.Readlink(h.path(name)); err == nil {
			b.symlink(target, name)
		}
	}
}

func (h Host) copyLocaltime(b *builder) {
	const name = "/etc/localtime"
	target, err := os.Readlink(h.path(name))
	if err == nil && strings.Contains(target, "/usr/share/zoneinfo/") {
		b.symlink(target, name)
		return
	}
	h.copyFile(b, name)
}
