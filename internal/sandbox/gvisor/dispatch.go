package gvisor

import (
	"os"
	"path/filepath"
	"strings"

	"gvisor.dev/gvisor/runsc/cli/maincli"
)

// starterName is argv[0] of the short-lived process that starts a sandbox.
const starterName = "runsc-moltworker-start"

// Dispatch turns this process into one of gVisor's when it was started as one,
// and then never returns. It must be the very first thing that main and
// TestMain do. It looks at argv[0] alone: gVisor clears the environment of its
// processes.
func Dispatch() {
	name := filepath.Base(os.Args[0])
	switch {
	case name == starterName:
		runStarter()
		os.Exit(0)
	case strings.HasPrefix(name, "runsc") || os.Args[0] == "/proc/self/exe":
		maincli.Main() // exits
		os.Exit(1)
	}
}
