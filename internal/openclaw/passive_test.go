package openclaw

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func req(method string) string {
	return `{"type":"req","id":"46:eac4b8af-f928-4e4a-a84f-b148f8be4aaa","method":"` + method + `","params":{"agentId":"main"}}`
}

func TestPassive(t *testing.T) {
	for _, tt := range []struct {
		name, frame string
		want        bool
	}{
		{"the poll of an open tab", req("sessions.catalog.list"), true},
		{"the handshake", req("connect"), true},
		{"what follows it", req("sessions.messages.subscribe"), true},
		{"the logs page", req("logs.tail"), true},
		{"without parameters", `{"type":"req","id":"1","method":"health"}`, true},
		{"cut off after the method", req("sessions.list")[:90], true},

		{"a message", req("chat.send"), false},
		{"typing", req("session.typing"), false},
		{"stop", req("chat.abort"), false},
		{"settings", req("config.patch"), false},
		{"a session's settings", req("sessions.patch"), false},
		{"an approval", req("exec.approval.resolve"), false},
		{"a job", req("cron.run"), false},
		{"a terminal", req("terminal.input"), false},
		{"a method nobody knows", req("sessions.listen"), false},
		{"a longer name", req("connect.all"), false},
		{"upper case", req("CONNECT"), false},
		{"an escape in the method", req(`c\u006fnnect`), false},
		{"an escape in the id", `{"type":"req","id":"\"","method":"connect"}`, false},
		{"cut off in the method", `{"type":"req","id":"1","method":"connect`, false},
		{"cut off after the method's quote", `{"type":"req","id":"1","method":"connect"`, false},
		{"method first", `{"method":"connect","type":"req","id":"1"}`, false},
		{"an endless id", `{"type":"req","id":"` + strings.Repeat("1", 2000) + `","method":"connect"}`, false},
		{"not a request", `{"type":"event","event":"tick"}`, false},
		{"not JSON", "hello", false},
		{"empty", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Passive([]byte(tt.frame)); got != tt.want {
				t.Errorf("%v: %s", got, tt.frame)
			}
		})
	}
}

// What counts as passive changes nothing: no name among them is one that writes.
func TestPassiveMethodsOnlyRead(t *testing.T) {
	for method := range passive {
		if len(method) > maxMethod || !Passive([]byte(req(method))) {
			t.Errorf("%s is listed but not seen", method)
		}
		for _, verb := range []string{"send", "patch", "delete", "create", "run", "resolve", "approve", "abort", "apply", "put", "input", "update"} {
			if strings.HasSuffix(method, "."+verb) {
				t.Errorf("%s is passive", method)
			}
		}
	}
}

func FuzzPassive(f *testing.F) {
	f.Add([]byte(req("connect")))
	f.Add([]byte(req("chat.send")))
	f.Add([]byte(`{"type":"req","id":"1","method":"connect"`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		got := Passive(frame)
		if got != Passive(append(bytes.Clone(frame), " trailing"...)) && json.Valid(frame) {
			t.Errorf("what follows a frame decides about it: %q", frame)
		}
		if !got {
			return
		}
		// A complete frame that we call passive reads the same as JSON.
		dec := json.NewDecoder(bytes.NewReader(frame))
		for _, want := range []any{json.Delim('{'), "type", "req", "id", nil, "method", nil} {
			token, err := dec.Token()
			if err != nil {
				return // a control character in the id; the gateway refuses such a frame
			}
			if want != nil && token != want {
				t.Fatalf("%q has %v where %v should be", frame, token, want)
			}
		}
	})
}
