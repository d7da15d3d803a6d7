//go:build race

package backup

// racing says that the race detector looks on, which takes its time.
const racing = true
