package openclaw

import (
	"fmt"
	"time"
)

// Tick is the event with which the gateway tells its clients, every 30 s, that it
// is there. The Control UI takes a gateway for lost that has said nothing for
// 60 s. The gateway numbers events that all clients get; without a number this one
// leaves no gap.
func Tick(now time.Time) []byte {
	return fmt.Appendf(nil, `{"type":"event","event":"tick","payload":{"ts":%d}}`, now.UnixMilli())
}
