package runtime

import (
	"io/fs"
	"path/filepath"
	"time"
)

// Progress is how far an installation is. Total is 0 when there is nothing to
// measure against.
type Progress struct {
	Phase Phase
	Done  int64 // bytes
	Total int64 // bytes
}

// Phase is a step of an installation, in words for people.
type Phase string

// The phases, in order.
const (
	PhaseWait     Phase = "waiting for another installation"
	PhaseDownload Phase = "downloading and unpacking packages"
	PhaseManifest Phase = "writing manifest"
	PhaseVerify   Phase = "verifying"
)

// reportEvery is the shortest time between two reports of one phase.
const reportEvery = 250 * time.Millisecond

// report tells about a phase until the function it returns is called, which
// tells once more. Between two samples it rests at least four times as long as
// a sample took: measuring must not slow down what is measured.
func report(tell func(Progress), phase Phase, total int64, sample func() int64) (stop func()) {
	tell(Progress{Phase: phase, Total: total})
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		rest := time.NewTimer(reportEvery)
		defer rest.Stop()
		for {
			select {
			case <-quit:
				tell(Progress{Phase: phase, Done: min(sample(), total), Total: total})
				return
			case <-rest.C:
			}
			start := time.Now()
			tell(Progress{Phase: phase, Done: min(sample(), total), Total: total})
			rest.Reset(max(reportEvery, 4*time.Since(start)))
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// treeBytes adds up the files under dir; what vanishes meanwhile is skipped.
func treeBytes(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
