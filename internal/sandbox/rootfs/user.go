package rootfs

import (
	"os"
	"strconv"
	"strings"
)

// GuestID is the user and group that a guest runs as: far from any person's, yet
// below 65536, where the users of most containers end.
const GuestID = 64321

// Rootless says whether this process cannot make another user's files: it is
// not root, or root only inside a user namespace where no GuestID exists.
func Rootless() bool {
	return os.Geteuid() != 0 || !mapped("/proc/self/uid_map", GuestID) || !mapped("/proc/self/gid_map", GuestID)
}

// mapped says whether id exists in this process's user namespace.
func mapped(file string, id uint64) bool {
	content, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	return inMap(string(content), id)
}

// inMap reads lines of "first inside, first outside, length".
func inMap(content string, id uint64) bool {
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(fields[0], 10, 64)
		length, err2 := strconv.ParseUint(fields[2], 10, 64)
		if err1 == nil && err2 == nil && id >= first && id-first < length {
			return true
		}
	}
	return false
}
