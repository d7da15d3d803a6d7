package gvisor

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

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
		Annotations: map[string]string{scratchNote: strconv.FormatInt(spec.Limits.Scratch, 10)},
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
