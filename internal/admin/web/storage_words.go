package web

import (
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
	"github.com/moltworker/moltworker/internal/page"
)

// agentBackup is one agent's backup as it is shown.
type agentBackup struct {
	admin.AgentBackup
	Tone   string
	Words  string // how safe it is, in one line
	Fenced bool
	Job    *job
}

func viewBackup(a admin.AgentBackup, j *job, now time.Time) agentBackup {
	return agentBackup{AgentBackup: a, Tone: safeTone(a.State), Words: safeWords(a, now), Fenced: a.State == safekeeper.StateFenced, Job: j}
}

// backupTone is how the state of the whole is coloured.
func backupTone(state string) string {
	switch state {
	case admin.BackupReady:
		return "good"
	case admin.BackupStarting:
		return "calm"
	case admin.BackupAway, admin.BackupOff:
		return "warn"
	}
	return "bad"
}

// safeTone is how the state of an agent's backup is coloured.
func safeTone(state safekeeper.State) string {
	switch state {
	case safekeeper.StateSafe:
		return "good"
	case safekeeper.StateChanged, safekeeper.StateSaving:
		return "calm"
	case safekeeper.StateBehind:
		return "warn"
	case safekeeper.StateFenced:
		return "bad"
	}
	return ""
}

// safeWords say how safe an agent's state is.
func safeWords(a admin.AgentBackup, now time.Time) string {
	upTo := "nothing is kept yet"
	if until := a.SafeUntil(); !until.IsZero() {
		upTo = "everything up to " + page.Ago(now, until) + " is kept"
	}
	switch a.State {
	case safekeeper.StateSafe:
		return "Safe: everything up to now is kept."
	case safekeeper.StateChanged:
		return "Something changed; it is kept within seconds. Until then, " + upTo + "."
	case safekeeper.StateSaving:
		return "A version is being made; " + upTo + "."
	case safekeeper.StateBehind:
		return fmt.Sprintf("Behind since %s; %s. It is tried again%s.", moment(a.Since, now), upTo, retryWords(a.RetryAt, now))
	case safekeeper.StateFenced:
		return fmt.Sprintf("Another machine makes its versions since %s; %s.", moment(a.Since, now), upTo)
	}
	return "Its state is being looked at; " + upTo + "."
}

// moment is a time of today, or a day with it.
func moment(t, now time.Time) string {
	if t, now := t.Local(), now.Local(); t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04")
	}
	return page.Stamp(t)
}

func retryWords(at, now time.Time) string {
	switch {
	case at.IsZero():
		return " right now"
	case at.Before(now):
		return " at once"
	}
	return " in " + page.Long(at.Sub(now))
}

// Short is a version's ID as it is shown.
func (v storageView) Short(id string) string { return admin.ShortVersion(id) }

// DrillWords say how the last drill ended.
func (a agentBackup) DrillWords(now time.Time) string { return drillWords(a.Drill, now) }

func drillWords(d *admin.Drill, now time.Time) string {
	switch {
	case d == nil:
		return "never"
	case d.OK:
		return "fine, " + page.Ago(now, d.Time)
	}
	return "failed, " + page.Ago(now, d.Time)
}

// VerifiedWords say how the last verification ended.
func (a agentBackup) VerifiedWords(now time.Time) string {
	v := a.Verified
	switch {
	case v == nil:
		return "never"
	case !v.OK():
		return fmt.Sprintf("%d damaged, %s", len(v.Damage), page.Ago(now, v.Time))
	case v.Full:
		return "every byte, " + page.Ago(now, v.Time)
	}
	return "whole, " + page.Ago(now, v.Time)
}

// PolicyWords say which versions stay.
func (v storageView) PolicyWords() string {
	p := v.Backup.Policy
	if p == (backup.Policy{}) {
		return "all"
	}
	return fmt.Sprintf("the last %d, and one of each of %d hours, %d days, %d weeks and %d months", p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly)
}
