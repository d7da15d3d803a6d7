package pid1

import (
	"math/rand/v2"
	"runtime"
)

// maxSkipped bounds how many process numbers are passed over at the start.
const maxSkipped = 1000

// scatter makes process numbers in this sandbox begin somewhere else than in the
// last one. Programs that leave a claim behind when they are killed name
// themselves by process number and start time in it, and one sandbox's life begins
// as the other's did: the next program would take the claim for its own, or for
// that of somebody alive. Threads are numbered like processes, and cheap.
func scatter() { skip(rand.IntN(maxSkipped)) }

// skip uses up about n process numbers: the main thread may stand in for one of
// these threads, and does not end.
func skip(n int) {
	done := make(chan struct{})
	for range n {
		go func() {
			runtime.LockOSThread() // and the thread ends with the goroutine
			done <- struct{}{}
		}()
		<-done
	}
}
