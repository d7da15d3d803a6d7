package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCommandLine tells what the command line says to mistakes: each script in
// testdata is a story.
func TestCommandLine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() }) // the scripts run in parallel, after this function
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MOLTWORKER_DATA", env.Getenv("WORK")+"/data")
			env.Setenv("MOLTWORKER_CACHE", env.Getenv("WORK")+"/cache")
			env.Setenv("HOME", env.Getenv("WORK"))
			env.Setenv("TAKEN", listener.Addr().String())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"moltworker": cmdMoltworker,
		},
	})
}

// cmdMoltworker runs the program under test: moltworker CODE ARG... expects it to
// end with CODE.
func cmdMoltworker(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: moltworker CODE ARG...")
	}
	err := ts.Exec(program, args[1:]...)
	code := "0"
	if exit, ok := err.(*exec.ExitError); ok {
		code = fmt.Sprint(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("run moltworker: %v", err)
	}
	if code != args[0] {
		ts.Fatalf("moltworker %v: ended with code %s, want %s", args[1:], code, args[0])
	}
}
