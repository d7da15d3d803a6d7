package admin

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The script reads what this machine's kernel says; it finds this very process.
func TestProcessesAreListed(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", listProcesses).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parseProcesses(string(out), time.Now()) {
		if p.PID != os.Getpid() {
			continue
		}
		if !strings.Contains(p.Command, ".test") || p.State == "" || time.Since(p.Started) > time.Hour || time.Until(p.Started) > time.Minute {
			t.Errorf("%+v", p)
		}
		return
	}
	t.Errorf("this process is not among %s", out)
}

// What runs inside may call itself anything.
func TestHostileProcesses(t *testing.T) {
	fields := strings.Repeat(" 1", 18)
	for text, want := range map[string]string{
		"":        "",
		"garbage": "",
		"1.5 2\n1 (a) b) (c) S" + fields + " 100 1\nx y\n": "x y",
		"1.5 2\n1 (a\nb) S" + fields + " 100\n\n":          "",
		"1.5 2\n7 (k) S" + fields + " 100\n\n":             "[k]",
		"1.5 2\n7 (k) S 1\nx\n":                            "",
		"x\n7 (k) S" + fields + " 100\nx\n":                "x",
	} {
		got := ""
		for _, p := range parseProcesses(text, time.Unix(1000, 0)) {
			got += p.Command
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzProcesses(f *testing.F) {
	f.Add("1.5 2\n1 (a) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 100 1\nx y\n")
	f.Fuzz(func(t *testing.T, text string) { parseProcesses(text, time.Unix(0, 0)) })
}

func FuzzCheckPath(f *testing.F) {
	f.Add("/startupz?x=1")
	f.Fuzz(func(t *testing.T, path string) {
		if checkPath(path) == nil && (strings.Contains(path, "..") && strings.Contains(strings.Split(path, "?")[0], "/../") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, " \r\n#")) {
			t.Errorf("%q got through", path)
		}
	})
}
