package rootfs

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// HandOver gives the directory at path, with all it holds, to uid and gid. It
// does nothing when the directory belongs to uid already. The tree may be
// hostile: every step goes through the descriptor of the directory above,
// follows no symbolic link and stays on one file system.
func HandOver(path string, uid, gid int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s to hand it to the guest: %w", path, err)
	}
	top := os.NewFile(uintptr(fd), path)
	defer top.Close()

	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if int(st.Uid) == uid {
		return nil
	}
	// Children first: a hand-over that was interrupted is begun again, because
	// the top still has its old owner.
	h := handover{dev: st.Dev, from: st.Uid, uid: uid, gid: gid}
	if err := h.children(top, 0); err != nil {
		return fmt.Errorf("hand %s to the guest: %w", path, err)
	}
	return top.Chown(uid, gid)
}

type handover struct {
	dev      uint64 // the file system to stay on
	from     uint32 // the old owner of the top
	uid, gid int
}

// maxDepth bounds the recursion, and with it the open descriptors.
const maxDepth = 256

func (h handover) children(dir *os.File, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d directories deep", dir.Name(), maxDepth)
	}
	for {
		names, err := dir.Readdirnames(256)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := h.entry(dir, name, depth); err != nil {
				return err
			}
		}
	}
}

func (h handover) entry(dir *os.File, name string, depth int) error {
	// O_PATH opens nothing but the name itself, be it a link, device or FIFO.
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s/%s: %w", dir.Name(), name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s/%s: %w", dir.Name(), name, err)
	}
	if st.Dev != h.dev {
		return nil
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	// A file of somebody else with a second name may have that name outside: a
	// link must not be a way to come by it.
	if !isDir && st.Nlink > 1 && st.Uid != h.from {
		return nil
	}
	if isDir {
		if err := h.below(fd, dir.Name()+"/"+name, depth+1); err != nil {
			return err
		}
	}
	if err := unix.Fchownat(fd, "", h.uid, h.gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s/%s: %w", dir.Name(), name, err)
	}
	return nil
}

func (h handover) below(pathFD int, name string, depth int) error {
	fd, err := unix.Openat(pathFD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	return h.children(dir, depth)
}
