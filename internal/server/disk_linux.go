package server

import (
	"os"
	"syscall"
)

// sameDisk says whether two directories are on one file system; an unknown one is
// taken to be the same.
func sameDisk(a, b string) bool {
	device := func(path string) (uint64, bool) {
		info, err := os.Stat(path)
		if err != nil {
			return 0, false
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return 0, false
		}
		return uint64(stat.Dev), true
	}
	first, ok1 := device(a)
	second, ok2 := device(b)
	return !ok1 || !ok2 || first == second
}
