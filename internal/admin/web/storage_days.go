package web

import (
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/page"
)

const (
	drawnDays  = 30
	dayWidth   = 20 // of one day in the drawing, in its own units
	daysHeight = 60
	leastDay   = 2 // height of a day on which something was stored
)

// days is what was put into the store on each of the last days, as a drawing.
type days struct {
	Bars  []day
	Width int
	Total int64
	From  time.Time
}

// day is one bar.
type day struct {
	X, Y, Height float64
	Title        string
}

// daysOf is nil where nothing was stored.
func daysOf(versions []backup.Version, now time.Time) *days {
	today := midnight(now)
	var stored [drawnDays]int64
	var made [drawnDays]int
	d := &days{Width: drawnDays * dayWidth, From: today.AddDate(0, 0, 1-drawnDays)}
	var most int64
	for _, v := range versions {
		// Half a day more: not all have 24 hours.
		ago := int((today.Sub(midnight(v.Time)) + 12*time.Hour) / (24 * time.Hour))
		if ago < 0 || ago >= drawnDays || v.Damaged != "" {
			continue
		}
		i := drawnDays - 1 - ago
		stored[i] += max(v.Stored, 0)
		made[i]++
		most, d.Total = max(most, stored[i]), d.Total+max(v.Stored, 0)
	}
	if d.Total == 0 {
		return nil
	}
	for i, n := range stored {
		if made[i] == 0 {
			continue
		}
		height := max(leastDay, float64(n)/float64(most)*daysHeight)
		d.Bars = append(d.Bars, day{
			X: float64(i*dayWidth) + 2, Y: daysHeight - height, Height: height,
			Title: fmt.Sprintf("%s: %s stored by %d versions", d.From.AddDate(0, 0, i).Format("2 January"), page.Bytes(n), made[i]),
		})
	}
	return d
}

func midnight(t time.Time) time.Time {
	y, m, d := t.Local().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.Local)
}
