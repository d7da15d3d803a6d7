package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/unixsock"
)

// TestDevices tells what the command line does with devices, senders and tokens:
// each script is a story, with a control plane in front of a fake OpenClaw.
func TestDevices(t *testing.T) {
	for _, file := range []string{"testdata/device.txtar", "testdata/token.txtar"} {
		w := admintest.New(t, nil)
		testscript.Run(t, testscript.Params{
			Files: []string{file},
			Setup: func(env *testscript.Env) error {
				data := filepath.Join(env.Getenv("WORK"), "data")
				env.Setenv("MOLTWORKER_DATA", data)
				env.Setenv("MOLTWORKER_CACHE", env.Getenv("WORK")+"/cache")
				env.Setenv("HOME", env.Getenv("WORK"))
				return serveWorld(env, w, data)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"run": cmdRun,
				"ask": func(ts *testscript.TestScript, _ bool, args []string) { w.Main.OpenClaw.Ask(args[0], args[1], args[2]) },
				"write": func(ts *testscript.TestScript, _ bool, args []string) {
					w.Main.OpenClaw.Write(args[0], args[1], args[2])
				},
				"configure": func(ts *testscript.TestScript, _ bool, args []string) { w.Conf[args[0]] = args[1] },
			},
		})
	}
}

// serveWorld serves a control plane where the command line looks for it.
func serveWorld(env *testscript.Env, w *admintest.World, data string) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	socket, err := unixsock.Listen(client.SocketPath(data), 0o600)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: api.Owner(api.Handler(w.Plane, w.Options.Log))}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(socket) }()
	env.Defer(func() {
		if err := srv.Close(); err != nil {
			env.T().Log(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			env.T().Log(err)
		}
	})
	return nil
}
