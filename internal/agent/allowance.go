package agent

import (
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

// What a guest may tell us, in bytes: at once, and every second from then on. A
// guest that tells more is listened to more slowly, so that it cannot keep the
// host's disk, log and terminal busy.
const (
	tellAtOnce    = 4 << 20
	tellPerSecond = 1 << 20
	statusCost    = 64 << 10 // a status is shown to everybody who watches
	lineCost      = 256      // of a line, beside its text
)

// allowance is how much of that is left.
type allowance struct {
	left float64
	at   time.Time
}

func newAllowance(now time.Time) *allowance { return &allowance{tellAtOnce, now} }

// spend takes from the allowance and says how long to wait for it.
func (b *allowance) spend(now time.Time, bytes int) time.Duration {
	b.left = min(b.left+now.Sub(b.at).Seconds()*tellPerSecond, tellAtOnce) - float64(bytes)
	b.at = now
	if b.left >= 0 {
		return 0
	}
	return time.Duration(-b.left / tellPerSecond * float64(time.Second))
}

// cost is what an event takes from the allowance.
func cost(e proto.Event) int {
	if e.Log != nil {
		return lineCost + len(e.Log.Text)
	}
	return statusCost
}
