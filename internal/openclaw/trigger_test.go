package openclaw_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/openclawtest"
)

func TestTriggers(t *testing.T) {
	const poll = "[Sun 2026-02-01 10:00 UTC] Follow the heartbeat monitor scratch context when provided."
	const inner = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> x"
	for _, tt := range []struct{ first, last, before, want string }{
		{"hello", "hello", "", "user"},
		{"hello", "[Sun 2026-02-01 10:00] what is 3 + 4?", "x", "user"},
		{"hello", poll, "x", "heartbeat"},
		{"hello", "[OpenClaw heartbeat poll]", "x", "heartbeat"},
		{"hello", inner, poll, "heartbeat"},
		{"hello", inner, "what now?", "user"},
		{"[cron:17 mail] look", "[cron:17 mail] look", "", "cron"},
		{"x", "[Mon 10:00] [OpenClaw cron wake]", "", "cron"},
		{"[Subagent Context] You are running as a subagent", "[Subagent Task] find out", "", "subagent"},
		{"[Subagent Context] You are", poll, "", "subagent"},
		{"x", "[Telegram Ann id:1 2026-01-30 12:00] hello", "", "channel"},
		{"x", "[Telegrams are fun] hello", "", "user"},
		{"x", "Conversation info (untrusted metadata):\n{}", "", "channel"},
		{"", "", "", ""},
		{"x", inner, "", ""},
		{"x", "[Sun", "", "user"},
	} {
		if got := openclaw.Trigger(tt.first, tt.last, tt.before); got != tt.want {
			t.Errorf("%q, %q, %q: %q, want %q", tt.first, tt.last, tt.before, got, tt.want)
		}
	}
}

// TestTriggersAreWhatOpenClawSays looks for the words in the real OpenClaw, which
// may choose others one day.
func TestTriggersAreWhatOpenClawSays(t *testing.T) {
	dist := filepath.Join(openclawtest.Runtime(t).Dir, "node_modules", "openclaw", "dist")
	wanted := []string{"[OpenClaw heartbeat poll]", "Follow the heartbeat monitor scratch context", "`[cron:${", "[OpenClaw cron wake]", "[Subagent Context] You are", "[Subagent Task]", "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>"}
	err := filepath.WalkDir(dist, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && path != dist && d.Name() != "plugin-sdk" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".mjs") && !strings.HasSuffix(path, ".js") {
			return nil
		}
		content, err := os.ReadFile(path)
		wanted = slices.DeleteFunc(wanted, func(word string) bool { return bytes.Contains(content, []byte(word)) })
		if len(wanted) == 0 {
			return filepath.SkipAll
		}
		return err
	})
	if err != nil || len(wanted) > 0 {
		t.Errorf("OpenClaw has none of %q, %v", wanted, err)
	}
}
