// Package pid1 owns what runs first inside a sandbox: it keeps one process
// running, runs commands, reads and writes files, carries connections both ways
// over the link, and reaps what dies. It does what the host asks and no more.
//
// It knows nothing of OpenClaw nor of what isolates it, and needs no privilege:
// its tests run it as an ordinary process.
package pid1
