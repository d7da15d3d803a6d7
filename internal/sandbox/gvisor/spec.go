package gvisor

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"gvisor.dev/gvisor/runsc/boot"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
)

// maxSharedMemory bounds /dev/shm, which is taken out of Limits.Scratch.
const maxSharedMemory = 64 << 20

// divide splits the scratch limit between the root's overlay, which holds /tmp
// too, and /dev/shm.
func divide(scratch int64) (overlay, shm int64) {
	if scratch <= 0 {
		return 0, maxSharedMemory
	}
	shm = min(scratch/8, maxSharedMemory)
	return scratch - shm, shm
}

// ociSpec translates a sandbox's Spec into gVisor's.
func ociSpec(p place, spec sandbox.Spec, host rootfs.Host, u user, cgroupPath string) *specs.Spec {
	_, shm := divide(spec.Limits.Scratch)
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
	}
	for _, name := range host.Binds {
		mounts = append(mounts, bind(name, name, true))
	}
	for _, m := range spec.Mounts {
		mounts = append(mounts, bind(m.Source, m.Destination, m.ReadOnly))
	}
	return &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: p.root()},
		Hostname:    spec.Hostname,
		Mounts:      mounts,
		Annotations: annotations(spec, mounts),
		Process:     process(spec, u),
		Linux: &specs.Linux{
			CgroupsPath: cgroupPath,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
}

// annotations are gVisor's notes on a sandbox: its scratch limit, and the mounts
// that are to be looked at anew each time, because somebody else may change them.
// Of the others (see settings) its kernel keeps what it saw: otherwise each step
// of each path is asked of the host again, which doubles the price of looking at
// one of OpenClaw's many files (BenchmarkLookups).
func annotations(spec sandbox.Spec, mounts []specs.Mount) map[string]string {
	notes := map[string]string{scratchNote: strconv.FormatInt(spec.Limits.Scratch, 10)}
	keep := map[string]bool{}
	for _, m := range spec.Mounts {
		keep[m.Source] = m.Unchanging && m.ReadOnly
	}
	for i, m := range mounts {
		if m.Type != boot.Bind || keep[m.Source] {
			continue
		}
		hint := boot.MountPrefix + "m" + strconv.Itoa(i) + "."
		notes[hint+"source"], notes[hint+"type"], notes[hint+"share"] = m.Source, m.Type, "shared"
		keep[m.Source] = true // one note is enough
	}
	return notes
}

func process(spec sandbox.Spec, u user) *specs.Process {
	dir := spec.Dir
	if dir == "" {
		dir = "/"
	}
	return &specs.Process{
		User:            specs.User{UID: uint32(u.uid), GID: uint32(u.gid)},
		Args:            spec.Args,
		Env:             spec.Env,
		Cwd:             dir,
		Capabilities:    &specs.LinuxCapabilities{}, // none
		NoNewPrivileges: true,
		Rlimits: []specs.POSIXRlimit{
			{Type: "RLIMIT_NOFILE", Soft: 65536, Hard: 65536},
			{Type: "RLIMIT_CORE"},
		},
	}
}

func bind(source, destination string, readOnly bool) specs.Mount {
	options := []string{"rbind", "nosuid", "nodev"}
	if readOnly {
		options = append(options, "ro")
	}
	return specs.Mount{Destination: destination, Source: source, Type: "bind", Options: options}
}

func writeSpec(p place, spec *specs.Spec) error {
	content, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode the sandbox's specification: %w", err)
	}
	return os.WriteFile(p.spec(), content, 0o600)
}
