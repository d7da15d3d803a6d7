package sandbox

import (
	"strings"
	"syscall"
	"testing"
)

func TestValidateID(t *testing.T) {
	for _, id := range []string{"a", "main", "a-b", "0", strings.Repeat("x", 40)} {
		if err := ValidateID(id); err != nil {
			t.Errorf("ValidateID(%q) = %v", id, err)
		}
	}
	for _, id := range []string{"", "-a", "a-", "A", "a_b", "a.b", "../x", "a/b", "a\n", "ä", strings.Repeat("x", 41)} {
		if ValidateID(id) == nil {
			t.Errorf("ValidateID(%q) = nil, want an error", id)
		}
	}
}

func TestValidateSpec(t *testing.T) {
	good := func() Spec {
		return Spec{
			ID: "main", Args: []string{"/bin/true"}, Env: []string{"A=", "B=c=d"}, Log: "/tmp/log",
			Mounts: []Mount{{Source: "/a", Destination: "/b"}},
		}
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("a good spec: %v", err)
	}
	tests := []struct {
		name  string
		spoil func(*Spec)
	}{
		{"bad id", func(s *Spec) { s.ID = "../x" }},
		{"no program", func(s *Spec) { s.Args = nil }},
		{"relative program", func(s *Spec) { s.Args = []string{"true"} }},
		{"no log", func(s *Spec) { s.Log = "" }},
		{"relative source", func(s *Spec) { s.Mounts[0].Source = "a" }},
		{"unclean destination", func(s *Spec) { s.Mounts[0].Destination = "/b/../etc" }},
		{"NUL in the environment", func(s *Spec) { s.Env = []string{"A=b\x00--bind\x00/"} }},
		{"NUL in an argument", func(s *Spec) { s.Args = append(s.Args, "a\x00b") }},
		{"NUL in the host name", func(s *Spec) { s.Hostname = "a\x00b" }},
		{"NUL in a mount", func(s *Spec) { s.Mounts[0].Source = "/a\x00" }},
		{"environment entry without a name", func(s *Spec) { s.Env = []string{"=x"} }},
		{"environment entry without a value", func(s *Spec) { s.Env = []string{"x"} }},
	}
	for _, tt := range tests {
		s := good()
		tt.spoil(&s)
		if s.Validate() == nil {
			t.Errorf("%s: Validate = nil, want an error", tt.name)
		}
	}
}

func TestExitString(t *testing.T) {
	tests := []struct {
		exit Exit
		want string
	}{
		{Exit{}, "ended, exit status unknown"},
		{Exit{Known: true}, "exited with code 0"},
		{Exit{Known: true, Code: 3}, "exited with code 3"},
		{Exit{Known: true, Signal: syscall.SIGKILL}, "killed by signal 9 (killed)"},
	}
	for _, tt := range tests {
		if got := tt.exit.String(); got != tt.want {
			t.Errorf("%+v = %q, want %q", tt.exit, got, tt.want)
		}
	}
}
