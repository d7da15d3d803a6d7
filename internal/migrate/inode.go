package migrate

import (
	"io/fs"
	"syscall"
)

// inode tells which file it is, and whether it has other names.
func inode(info fs.FileInfo) (id [2]uint64, several bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return id, false
	}
	return [2]uint64{uint64(st.Dev), st.Ino}, st.Nlink > 1
}
