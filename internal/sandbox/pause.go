package sandbox

import "context"

// A Pausable sandbox can be halted for a while, so that what it has in its mounts
// can be copied as it is at one moment.
type Pausable interface {
	Sandbox

	// Pause halts everything inside. What was written to mounts before is
	// visible on the host. A sandbox that is paused already stays so, and so it
	// does when the process that paused it ends. One that a process was pausing,
	// resuming or writing down when it died may count as dead: Open cleans it away.
	Pause(ctx context.Context) error

	// Resume lets a paused sandbox run on. It does nothing to one that runs.
	Resume(ctx context.Context) error
}
