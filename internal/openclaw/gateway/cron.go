package gateway

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// EventCron is the event with which the gateway tells of every change of its cron
// table: a job was added, updated, removed, scheduled anew, started or finished.
// The gateway drops it for a client that reads slowly: a hint to look again, not a
// record.
const EventCron = "cron"

// A CronJob is one enabled job of the gateway's own scheduler.
type CronJob struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`    // for people, cleaned and of bounded length
	Due     time.Time `json:"due"`     // when it runs next, possibly past: then it is overdue
	Running bool      `json:"running"` // it runs now
	Kind    CronKind  `json:"kind"`
}

// CronKind says who wants a job.
type CronKind string

const (
	CronUser      CronKind = "user"      // a person, or the agent for one
	CronHeartbeat CronKind = "heartbeat" // OpenClaw's regular look at HEARTBEAT.md; each may cost a model call
	CronUpkeep    CronKind = "upkeep"    // OpenClaw's own housekeeping, such as memory dreaming
)

// upkeep are the beginnings of the declaration keys under which OpenClaw and its
// bundled plugins keep jobs that nobody asked for.
var upkeep = []string{"memory-core:", "skill-collection-review:"}

func cronKind(declaration string) CronKind {
	if strings.HasPrefix(declaration, "heartbeat:") {
		return CronHeartbeat
	}
	for _, prefix := range upkeep {
		if strings.HasPrefix(declaration, prefix) {
			return CronUpkeep
		}
	}
	return CronUser
}

// Next is what the scheduler will do next.
type Next struct {
	Due     CronJob   // the first job of any kind; without an ID there is none
	Wanted  CronJob   // the first that is not upkeep and not a heartbeat; likewise
	Running []CronJob // jobs under way, at most maxCronJobs
	Events  int       // jobs that wait for something that happens inside, not for a time
}

// maxCronJobs is how many jobs are looked at, those due first: OpenClaw's own
// limit of a page. More running jobs than that keep a suspension from being
// ready anyway.
const maxCronJobs = 200

// NextCron reads when the gateway's scheduler has something to do. Jobs that wait
// for an event instead of a time, and all jobs of a scheduler that is switched
// off, are never due. A suspended gateway refuses it: subscribe to [EventCron], ask,
// prepare, and ask again if the event came in between.
func (c *Client) NextCron(ctx context.Context) (Next, error) {
	var status struct {
		Enabled bool `json:"enabled"`
	}
	if err := c.Call(ctx, "cron.status", nil, &status); err != nil {
		return Next{}, err
	}
	if !status.Enabled {
		return Next{}, nil
	}
	var page struct {
		Jobs []wireJob `json:"jobs"`
	}
	err := c.Call(ctx, "cron.list", map[string]any{
		"compact": true, "enabled": "enabled", "limit": maxCronJobs, "sortBy": "nextRunAtMs", "sortDir": "asc",
	}, &page)
	if err != nil {
		return Next{}, err
	}
	return next(page.Jobs), nil
}

// wireJob is a job in OpenClaw's compact form.
type wireJob struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	DisplayName    string   `json:"displayName"`
	DeclarationKey string   `json:"declarationKey"`
	ScheduleKind   string   `json:"scheduleKind"` // at, every, cron; on-exit, stream
	Enabled        bool     `json:"enabled"`
	NextRunAtMS    *float64 `json:"nextRunAtMs"`
	RunningAtMS    *float64 `json:"runningAtMs"`
}

func next(list []wireJob) (n Next) {
	var due []CronJob
	for _, w := range first(list, maxCronJobs) {
		if !w.Enabled || w.ID == "" {
			continue
		}
		j := CronJob{ID: clean(w.ID), Name: clean(cmp.Or(w.DisplayName, w.Name)), Kind: cronKind(w.DeclarationKey), Running: w.RunningAtMS != nil}
		if w.NextRunAtMS != nil {
			j.Due = unixMS(*w.NextRunAtMS)
		}
		if j.Running {
			n.Running = append(n.Running, j)
		}
		switch {
		case w.ScheduleKind == "on-exit" || w.ScheduleKind == "stream":
			n.Events++
		case !j.Due.IsZero():
			due = append(due, j)
		}
	}
	slices.SortStableFunc(due, func(a, b CronJob) int { return a.Due.Compare(b.Due) })
	for _, j := range due {
		if n.Due.ID == "" {
			n.Due = j
		}
		if n.Wanted.ID == "" && j.Kind == CronUser {
			n.Wanted = j
		}
	}
	return n
}
