// Package openclaw owns what we know of OpenClaw as a program to be configured
// and run: the keys we render into its openclaw.json and how they meet the
// user's own edits, the command that starts its gateway inside a sandbox, and
// what its refusals mean for our users. The pinned package itself is in runtime,
// the client of its gateway in gateway.
//
// It must not know of sandboxes, links or agents' lives, and does no I/O: files
// come and go as bytes.
package openclaw

// Where things are inside the sandbox.
const (
	RuntimeDir    = "/opt/openclaw" // the runtime, read-only
	Home          = "/home/agent"
	StateDir      = Home + "/.openclaw"
	ConfigPath    = StateDir + "/openclaw.json"
	GatewayPort   = 18789
	AIGatewayPort = 8700 // on the sandbox's loopback, forwarded to the host
	AIGatewayURL  = "http://127.0.0.1:8700"
)

// ExitConfig is the exit code with which the gateway refuses its configuration;
// starting it again cannot help.
const ExitConfig = 78
