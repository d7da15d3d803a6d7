package pid1

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// maxFile is the largest file that fits in a message.
const maxFile = (proto.MaxMessage - 64<<10) / 4 * 3

// refusal is an error with the code that programs tell it by.
type refusal struct {
	code string
	err  error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

func refuse(code, format string, args ...any) error {
	return refusal{code, fmt.Errorf(format, args...)}
}

// response is the answer that an operation's outcome calls for.
func response(err error) proto.Response {
	if err == nil {
		return proto.Response{}
	}
	r := proto.Response{Error: err.Error(), Code: "failed"}
	var no refusal
	switch {
	case errors.As(err, &no):
		r.Code = no.code
	case errors.Is(err, fs.ErrNotExist):
		r.Code = "not_found"
	case errors.Is(err, syscall.ECONNREFUSED):
		r.Code = "refused"
	}
	return r
}

// readFile reads a regular file whole.
func readFile(f *proto.File) ([]byte, error) {
	if err := checkFile(f); err != nil {
		return nil, err
	}
	limit := int64(maxFile)
	if f.Max > 0 {
		limit = min(limit, f.Max)
	}
	// O_NONBLOCK: opening a named pipe must not wait for its other end.
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, refuse("invalid", "%s is not a regular file", f.Path)
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, refuse("too_large", "%s is larger than %d bytes", f.Path, limit)
	}
	return data, nil
}

// writeFile replaces a file atomically.
func writeFile(f *proto.File) error {
	if err := checkFile(f); err != nil {
		return err
	}
	mode := fs.FileMode(f.Mode).Perm()
	if mode == 0 {
		mode = 0o600
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(f.Path, f.Data, mode)
}

func checkFile(f *proto.File) error {
	if f == nil || !filepath.IsAbs(f.Path) {
		return refuse("invalid", "a file needs an absolute path")
	}
	return nil
}
