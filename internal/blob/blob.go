// Package blob owns the contract of object storage: byte strings written whole
// under a name, in a directory, a bucket, or memory, all behind one interface
// with one test suite (blobtest). What is added by wrapping lives beside it:
// retry, pace, and a name space below a prefix.
//
// It must not know what the objects mean, or trust what a store answers:
// whoever reads objects checks them.
package blob

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxObject bounds an object, in bytes: objects are moved whole.
const MaxObject = 64 << 20

// Bounds of a name, in bytes. A segment is what stands between two "/".
const (
	MaxName    = 512
	MaxSegment = 128 // fits, with what a store adds, into a file name
)

// Errors that callers tell apart with errors.Is. Those that wrap ErrDenied or
// ErrUnavailable carry a remedy for people (package remedy) where it is known.
var (
	// ErrNotFound: there is no object of that name.
	ErrNotFound = errors.New("there is no such object")
	// ErrExists: Put was asked to write only if absent, and there is one already.
	ErrExists = errors.New("there is an object of that name already")
	// ErrDenied: the store does not let us, for want of the right credentials,
	// permission or setup. Trying again does not help.
	ErrDenied = errors.New("the store refuses")
	// ErrUnavailable: the store could not be reached, or failed. Trying again may help.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrName: no object can have that name.
	ErrName = errors.New("not a name for an object")
	// ErrTooLarge: the object has more than MaxObject bytes.
	ErrTooLarge = errors.New("the object is too large")
)

// Store holds objects: byte strings written whole under a name. All methods may
// be called at any time from any goroutine, and by many processes at once.
//
// Every method returns ErrName for a name that ValidateName refuses, and any may
// return ErrDenied or ErrUnavailable. When ctx ends first the error wraps that of
// ctx, and is not ErrUnavailable: nobody waits for the result any more.
//
// An object's name must not continue another's after a "/": beside "a" there is
// no "a/b". Stores that keep objects as files cannot hold both, and refuse the
// second with ErrName or ErrDenied.
type Store interface {
	// Put writes an object of at most MaxObject bytes; a larger one is ErrTooLarge.
	// When Put returns nil the object is durable, and every later Get, Stat and List
	// of anybody sees it whole. When it returns an error, the object is as before, or
	// (ErrUnavailable and the error of ctx only) may have been written whole; never
	// in part. Put does not keep data.
	//
	// With ifAbsent it fails with ErrExists when there is an object of that name; of
	// any number of such Puts at once exactly one succeeds. Without, an object of
	// that name is replaced atomically.
	Put(ctx context.Context, name string, data []byte, ifAbsent bool) error

	// Get returns the bytes [off, off+n) of an object; n < 0 means to its end, off is
	// not negative. Beyond the end there is nothing: the result is shorter, or empty.
	// ErrNotFound when there is no such object. The result is the caller's.
	Get(ctx context.Context, name string, off, n int64) ([]byte, error)

	// Stat describes an object. ErrNotFound when there is none.
	Stat(ctx context.Context, name string) (Info, error)

	// Delete removes an object durably. One that is not there is no error.
	Delete(ctx context.Context, name string) error

	// List calls f for every object whose name begins with prefix, in ascending
	// order of the names' bytes, until f returns an error, which List returns as it
	// is. prefix is "" or the beginning of a name, and need not end at a "/". Objects
	// that come or go meanwhile may or may not be seen; all others are, once. What
	// else lies in the place and has no valid name is passed over. f may use the store.
	List(ctx context.Context, prefix string, f func(Info) error) error

	// String says where the store is, for people. There are no credentials in it.
	String() string
}

// Info describes an object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the store's clock, to the second or finer
}

// ValidateName returns nil for what may be an object's name: at most MaxName
// bytes; segments of 1 to MaxSegment characters from a-z, 0-9, ".", "_" and "-",
// with single "/" between them. No segment is "." or "..", or ends in ".tmp",
// which stores use for what is being written. Otherwise it returns ErrName with
// the reason.
func ValidateName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrName, len(name), MaxName)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if why := badSegment(segment); why != "" {
			return fmt.Errorf("%w: %q %s", ErrName, name, why)
		}
	}
	return nil
}

// ValidatePrefix returns nil for "" and for what a valid name may begin with.
func ValidatePrefix(prefix string) error {
	if len(prefix) > MaxName {
		return fmt.Errorf("%w: a prefix of %d bytes, at most %d are allowed", ErrName, len(prefix), MaxName)
	}
	i := strings.LastIndexByte(prefix, '/')
	if i >= 0 {
		if err := ValidateName(prefix[:i]); err != nil {
			return err
		}
	}
	if last := prefix[i+1:]; len(last) > MaxSegment || !plain(last) {
		return fmt.Errorf("%w begins with %q", ErrName, prefix)
	}
	return nil
}

// badSegment says what is wrong with a segment, "" when nothing is.
func badSegment(s string) string {
	switch {
	case s == "":
		return "has an empty part"
	case len(s) > MaxSegment:
		return fmt.Sprintf("has a part of %d bytes, at most %d are allowed", len(s), MaxSegment)
	case s == "." || s == "..":
		return "has a part of dots only"
	case strings.HasSuffix(s, ".tmp"):
		return `has a part that ends in ".tmp"`
	case !plain(s):
		return `has other characters than a-z, 0-9, ".", "_" and "-"`
	}
	return ""
}

func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// CheckPut is how every store begins a Put: it refuses a bad name and too much data.
func CheckPut(name string, data []byte) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	if len(data) > MaxObject {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(data), MaxObject)
	}
	return nil
}

// CheckGet is how every store begins a Get: it refuses a bad name and offset.
func CheckGet(name string, off int64) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	if off < 0 {
		return fmt.Errorf("read object from offset %d", off)
	}
	return nil
}
