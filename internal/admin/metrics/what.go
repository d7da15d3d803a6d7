package metrics

import (
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
)

var buildInfo = gauge("build_info", "What runs here; always 1.", "version", "openclaw", "gvisor", "go")

var (
	agentState = gauge("agent_state", "1 for the state an agent is in.", "agent", "state")
	agentSince = gauge("agent_state_since_seconds", "When the agent came into its state, in Unix time.", "agent")
	// It counts from the sandbox's start, so it falls when that is new, as counters may.
	agentRestarts = counter("agent_gateway_restarts_total", "Unasked ends of the agent's gateway since its sandbox started.", "agent")
	agentMemory   = gauge("agent_memory_bytes", "Memory that the agent's sandbox holds.", "agent")
	agentCPU      = counter("agent_cpu_seconds_total", "Processor time of the agent's sandbox since it started.", "agent")

	agentStates = []agent.State{agent.StateStopped, agent.StateBooting, agent.StateAwake, agent.StateSuspending,
		agent.StateAsleep, agent.StateWaking, agent.StateFailed}
)

func ofAgent(s sink, a admin.AgentInfo) {
	among(s, agentState, a.State, agentStates, a.Agent)
	agentSince.when(s, a.Since, a.Agent)
	agentRestarts.one(s, float64(a.Restarts), a.Agent)
	if a.MemoryBytes >= 0 {
		agentMemory.one(s, float64(a.MemoryBytes), a.Agent)
		agentCPU.one(s, a.CPU.Seconds(), a.Agent)
	}
}

var (
	backupState = gauge("backup_state", "1 for the state of the backup as a whole.", "state")
	backupAway  = gauge("backup_off_machine", "1 when versions are kept elsewhere than on this machine's own disk.")
	backupSpare = gauge("backup_recovery_key", "1 when a key beside this host's can open the repository.")

	savedState   = gauge("backup_agent_state", "1 for the state of an agent's backup.", "agent", "state")
	savedUntil   = gauge("backup_safe_until_seconds", "A time up to which all of an agent's changes are in the store, in Unix time.", "agent")
	savedPending = gauge("backup_pending_since_seconds", "When the oldest change was noticed that is not in the store, in Unix time; absent when there is none.", "agent")
	savedLast    = gauge("backup_last_version_seconds", "When the newest version was made, in Unix time.", "agent")

	drillOK        = gauge("backup_drill_ok", "1 when the last trial of a restore succeeded, 0 when it did not; absent before the first.", "agent")
	drillWhen      = gauge("backup_drill_seconds", "When the last trial of a restore ended, in Unix time.", "agent")
	drillRestored  = gauge("backup_drill_restore_duration_seconds", "How long the trial's restore took.", "agent")
	drillBooted    = gauge("backup_drill_boot_duration_seconds", "How long OpenClaw took to boot on what the trial restored.", "agent")
	drillFiles     = gauge("backup_drill_files", "Files that the trial restored.", "agent")
	drillDatabases = gauge("backup_drill_databases", "Databases that passed the trial's check.", "agent")

	backupStates = []string{admin.BackupOff, admin.BackupStarting, admin.BackupReady, admin.BackupAway, admin.BackupLocked, admin.BackupFailed}
	savedStates  = []safekeeper.State{safekeeper.StateStarting, safekeeper.StateSafe, safekeeper.StateChanged, safekeeper.StateSaving,
		safekeeper.StateBehind, safekeeper.StateFenced}
)

func ofBackup(s sink, o admin.BackupOverview) {
	among(s, backupState, o.State, backupStates)
	if o.State == admin.BackupOff {
		return
	}
	backupAway.yes(s, o.OffMachine)
	backupSpare.yes(s, o.Recovery)
	for _, a := range o.Agents {
		among(s, savedState, a.State, savedStates, a.Agent)
		savedUntil.when(s, a.LastSafe, a.Agent)
		savedPending.when(s, a.Pending, a.Agent)
		if a.Last != nil {
			savedLast.when(s, a.Last.Time, a.Agent)
		}
		ofDrill(s, a.Drill)
	}
}

func ofDrill(s sink, d *admin.Drill) {
	if d == nil {
		return
	}
	drillOK.yes(s, d.OK, d.Agent)
	drillWhen.when(s, d.Time, d.Agent)
	drillRestored.one(s, d.Restored.Seconds(), d.Agent)
	drillBooted.one(s, d.Booted.Seconds(), d.Agent)
	drillFiles.one(s, float64(d.Files), d.Agent)
	drillDatabases.one(s, float64(d.Databases), d.Agent)
}
