// Package gvisorlog owns the silence of gVisor's libraries, which otherwise
// write to our standard error. What matters comes back as errors.
package gvisorlog

import (
	"io"
	"sync"

	"gvisor.dev/gvisor/pkg/log"
)

// Discard drops what gVisor's libraries log in this process, from the first
// call on.
var Discard = sync.OnceFunc(func() {
	log.SetTarget(log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}})
})
