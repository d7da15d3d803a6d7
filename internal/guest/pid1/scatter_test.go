package pid1

import (
	"os"
	"os/exec"
	"testing"
)

// Numbers that were passed over are not given to the next process, and the threads
// that took them are gone.
func TestSkippedNumbersAreNotGivenAgain(t *testing.T) {
	born := func() int {
		cmd := exec.Command("true")
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return cmd.Process.Pid
	}
	const n = 300
	first := born()
	skip(n)
	if next := born(); next > first && next-first < n-1 { // smaller: they began again at the top
		t.Errorf("process %d, then %d", first, next)
	}
	if threads, err := os.ReadDir("/proc/self/task"); err != nil || len(threads) > n/2 {
		t.Errorf("%d threads are left, %v", len(threads), err)
	}
}
