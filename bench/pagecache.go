package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// evict writes files out and takes their pages out of the page cache.
func evict(files []string) error {
	return each(files, func(f *os.File) error {
		return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	})
}

// cached is the share of files' bytes that is in the page cache. It says false
// where the kernel does not tell (before Linux 6.5).
func cached(files []string) (float64, bool) {
	var there, all int64
	err := each(files, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		var stat unix.Cachestat_t
		whole := unix.CachestatRange{Len: uint64(info.Size())}
		if err := unix.Cachestat(uint(f.Fd()), &whole, &stat, 0); err != nil {
			return err
		}
		there += int64(stat.Cache) * int64(os.Getpagesize())
		all += info.Size()
		return nil
	})
	if err != nil || all == 0 {
		return 0, false
	}
	return min(float64(there)/float64(all), 1), true
}

func each(files []string, do func(*os.File) error) error {
	var errs []error
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, do(f), f.Close())
	}
	return errors.Join(errs...)
}
