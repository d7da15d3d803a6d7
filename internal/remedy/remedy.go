// Package remedy owns errors that tell a person what to do: the message says
// what is wrong, the remedy what mends it, and each place that shows errors
// (command line, API, pages) shows both in its own way.
package remedy

import "errors"

type withRemedy struct {
	err    error
	remedy string
}

func (e *withRemedy) Error() string  { return e.err.Error() }
func (e *withRemedy) Unwrap() error  { return e.err }
func (e *withRemedy) Remedy() string { return e.remedy }

// With adds a remedy, one sentence or command, to err. A nil err stays nil.
func With(err error, remedy string) error {
	if err == nil {
		return nil
	}
	return &withRemedy{err, remedy}
}

// Of returns the outermost remedy that err or what it wraps carries, or "".
func Of(err error) string {
	var r interface{ Remedy() string }
	if errors.As(err, &r) {
		return r.Remedy()
	}
	return ""
}
