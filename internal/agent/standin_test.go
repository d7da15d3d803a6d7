package agent

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/openclaw"
)

// gatewayMain stands in for OpenClaw's gateway. Files in the agent's home tell it
// what to be like.
func gatewayMain() {
	os.Stdout.WriteString("gateway: hello from the sandbox\n")
	config, err := os.ReadFile(openclaw.ConfigPath)
	if err != nil || strings.Contains(string(config), "fatal") {
		os.Stderr.WriteString("gateway: invalid configuration\n")
		os.Exit(openclaw.ExitConfig)
	}
	ok := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"ok":true}`) }
	http.HandleFunc("/healthz", ok)
	http.HandleFunc("/startupz", func(w http.ResponseWriter, r *http.Request) {
		if is("slow") {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		ok(w, r)
	})
	http.HandleFunc("/config", func(w http.ResponseWriter, _ *http.Request) {
		now, _ := os.ReadFile(openclaw.ConfigPath)
		w.Write(now)
	})
	http.HandleFunc("/count", countOn)
	var s standIn
	http.HandleFunc("/", s.serve)
	http.ListenAndServe("127.0.0.1:18789", nil)
	os.Exit(1)
}

// is says whether the home has a file of that name.
func is(name string) bool {
	_, err := os.Stat(openclaw.Home + "/" + name)
	return err == nil
}

var (
	counted atomic.Int64
	life    = rand.Text()
)

// countOn answers with a number that lives in memory alone, and writes each down in
// the home: a number that is there twice was lived twice.
func countOn(w http.ResponseWriter, _ *http.Request) {
	n := counted.Add(1)
	f, err := os.OpenFile(openclaw.Home+"/counted", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(f, life, n)
		err = f.Close()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, n)
}

// standIn speaks as much of the gateway's protocol as falling asleep takes.
type standIn struct {
	mu      sync.Mutex
	promise string // under which it is suspended
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	say := func(format string, args ...any) {
		conn.Write(r.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...))
	}
	say(`{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}`)
	for {
		_, data, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		var req struct {
			ID     string          `json:"id"`
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		if json.Unmarshal(data, &req) != nil {
			return
		}
		if payload, ok := s.answer(req.Method, req.Params); ok {
			say(`{"type":"res","id":%q,"ok":true,"payload":%s}`, req.ID, payload)
		} else {
			say(`{"type":"res","id":%q,"ok":false,"error":{"code":"UNAVAILABLE","message":%q}}`, req.ID, payload)
		}
	}
}

func (s *standIn) answer(method string, params json.RawMessage) (payload string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p struct {
		RequestID    string `json:"requestId"`
		SuspensionID string `json:"suspensionId"`
	}
	if len(params) > 0 && json.Unmarshal(params, &p) != nil {
		return "bad parameters", false
	}
	switch method {
	case "connect":
		return `{"type":"hello-ok","protocol":4,"server":{"version":"1","bootId":"b"}}`, true
	case "gateway.suspend.resume":
		if p.SuspensionID != "of "+s.promise {
			return "unknown suspension", false
		}
		s.promise = ""
		return `{"ok":true,"status":"running"}`, true
	case "gateway.suspend.prepare":
		return s.prepare(p.RequestID)
	}
	if s.promise != "" {
		return "gateway-suspending", false
	}
	switch method {
	case "cron.status":
		return `{"enabled":true}`, true
	case "cron.list":
		jobs, err := os.ReadFile(openclaw.Home + "/jobs.json")
		if err != nil {
			return `{"jobs":[]}`, true
		}
		return string(jobs), true
	case "health":
		return `{"ok":true}`, true
	}
	return "unknown method " + method, false
}

// prepare suspends the gateway; asked again under the same name it says so again.
func (s *standIn) prepare(name string) (payload string, ok bool) {
	switch {
	case s.promise != "" && s.promise != name:
		return "gateway-suspension-conflict", false
	case is("busy"):
		return `{"status":"busy","reason":"active-work","retryAfterMs":100,"activeCount":1,"blockers":[{"kind":"chat-run","count":1,"message":"a turn runs"}]}`, true
	}
	s.promise = name
	return fmt.Sprintf(`{"status":"ready","suspensionId":%q,"expiresAtMs":%d}`, "of "+name, time.Now().Add(2*time.Minute).UnixMilli()), true
}
