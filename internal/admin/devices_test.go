package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
)

// ann is a context of somebody who has signed in.
func ann(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return access.With(ctx, access.Principal{Kind: access.KindPerson, Name: "ann@example.com", Via: access.ViaPasskey},
		access.Place{Client: netip.MustParseAddr("192.0.2.9")})
}

// actions are the recorded events of an action, oldest first.
func actions(t testing.TB, w *admintest.World, action string) []audit.Entry {
	t.Helper()
	list, err := w.Audit(admintest.Owner(t.Context()), audit.Filter{Action: action})
	if err != nil {
		t.Fatal(err)
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

func devices(t testing.TB, w *admintest.World) admin.Devices {
	t.Helper()
	d, err := w.Devices(ann(t), "main")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A browser asks, ann lets it in and names it, and takes it out again; all of that
// is on record, and what is known stays known while the agent sleeps.
func TestADeviceComesAndGoes(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.Become(agent.StateAwake)
	w.Main.OpenClaw.Ask("r:1", "device-1", "Ann's phone")
	w.Main.OpenClaw.Ask("r:2", "device-2", "")
	d := devices(t, w)
	if !d.Reachable || d.State != agent.StateAwake || len(d.Pending) != 2 || d.Pending[0].Name != "Ann's phone" || d.Pending[0].Address != "192.0.2.7" {
		t.Fatalf("%+v", d)
	}
	approved, err := w.ApproveDevice(ann(t), "MAIN", "r:1")
	if err != nil || approved.DeviceID != "device-1" || approved.ApprovedBy != "person ann@example.com" || approved.Via != access.ViaPasskey || approved.How != admin.HowByHand {
		t.Fatalf("%+v, %v", approved, err)
	}
	if err := w.RenameDevice(ann(t), "main", "device-1", "  the phone "); err != nil {
		t.Fatal(err)
	}
	if err := w.RejectDevice(ann(t), "main", "r:2"); err != nil {
		t.Fatal(err)
	}
	d = devices(t, w)
	if len(d.Pending) != 0 || len(d.Paired) != 1 || d.Paired[0].Name != "the phone" || d.Paired[0].ApprovedBy != "person ann@example.com" || !d.Paired[0].Connected {
		t.Fatalf("%+v", d)
	}

	w.Main.Become(agent.StateAsleep)
	asleep := devices(t, w)
	if asleep.Reachable || asleep.State != agent.StateAsleep || len(asleep.Paired) != 1 || asleep.Paired[0].Name != "the phone" || asleep.Paired[0].Connected || asleep.Seen.IsZero() {
		t.Errorf("%+v", asleep)
	}
	if w.Main.Status().State != agent.StateAsleep {
		t.Error("a listing woke it")
	}
	if err := w.RevokeDevice(ann(t), "main", "device-1"); err != nil {
		t.Fatal(err)
	}
	if w.Main.Status().State != agent.StateAwake {
		t.Error("a change did not wake it")
	}
	if d := devices(t, w); len(d.Paired) != 0 {
		t.Errorf("%+v", d)
	}
	for action, want := range map[string]audit.Event{
		"device.approve": {Target: "device-1", New: "operator operator.read", Detail: "by hand: openclaw-control-ui from 192.0.2.7"},
		"device.rename":  {Target: "device-1", Old: "Ann's phone", New: "the phone"},
		"device.reject":  {Target: "device-2", Detail: "request r:2"},
		"device.revoke":  {Target: "device-1"},
	} {
		want.Action, want.Agent, want.Actor, want.Via, want.From = action, "main", "person ann@example.com", access.ViaPasskey, "192.0.2.9"
		if found := actions(t, w, action); len(found) != 1 || found[0].Event != want {
			t.Errorf("%s is on record as %+v", action, found)
		}
	}
}

func TestAllThatWaitAreApproved(t *testing.T) {
	w := admintest.New(t, nil)
	if all, err := w.ApproveAll(ann(t), "main"); err != nil || len(all) != 0 {
		t.Errorf("of none: %+v, %v", all, err)
	}
	w.Main.OpenClaw.Ask("r1", "d1", "")
	w.Main.OpenClaw.Ask("r2", "d2", "")
	w.Main.OpenClaw.Ask("", "d3", "") // cannot be approved
	all, err := w.ApproveAll(ann(t), "main")
	if err != nil || len(all) != 3 || all[0].Error != nil || all[1].Device.DeviceID != "d2" || all[2].Error == nil || all[2].Error.Kind != "not_found" {
		t.Errorf("%+v, %v", all, err)
	}
	if found := actions(t, w, "device.approve"); len(found) != 2 {
		t.Errorf("%+v", found)
	}
}

func TestSendersAreApprovedAndDismissed(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.Become(agent.StateAwake)
	w.Main.OpenClaw.Write("s1", "4711", "ann")
	w.Main.OpenClaw.Write("s2", "4712", "\x1b]0;mallory\x07<b>")
	d := devices(t, w)
	if len(d.Senders) != 2 || d.Senders[0].Label != "ann" || d.Senders[0].Channel != "telegram" || d.Senders[0].Expires.IsZero() {
		t.Fatalf("%+v", d.Senders)
	}
	if strings.ContainsAny(d.Senders[1].Label, "\x1b\x07") {
		t.Errorf("control characters come through: %q", d.Senders[1].Label)
	}
	if err := w.ApproveSender(ann(t), "main", "telegram", "default", "s1"); err != nil {
		t.Fatal(err)
	}
	if err := w.DismissSender(ann(t), "main", "telegram", "default", "s2"); err != nil {
		t.Fatal(err)
	}
	if d := devices(t, w); len(d.Senders) != 0 {
		t.Errorf("%+v", d.Senders)
	}
	if found := actions(t, w, "sender."); len(found) != 2 || found[0].Target != "telegram/default/4711" || found[1].Action != "sender.dismiss" {
		t.Errorf("%+v", found)
	}
}

// Whatever IDs and names are given, the caller is told what is wrong with them,
// and OpenClaw hears of none that cannot be.
func TestHostileNamesAndIDs(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.OpenClaw.Ask("r", "d", "")
	if _, err := w.ApproveDevice(ann(t), "main", "r"); err != nil {
		t.Fatal(err)
	}
	known := len(w.Main.OpenClaw.Calls())
	for _, id := range []string{"", "\x00", "a\nb", "\x1b[31m", "\xff", strings.Repeat("x", 201), "\u202eevil"} {
		for what, err := range map[string]error{
			"approve": second(w.ApproveDevice(ann(t), "main", id)), "autopair": second(w.AutoPair(ann(t), "main", id)),
			"reject": w.RejectDevice(ann(t), "main", id), "rename": w.RenameDevice(ann(t), "main", id, "name"), "revoke": w.RevokeDevice(ann(t), "main", id),
			"sender": w.ApproveSender(ann(t), "main", "telegram", "default", id), "channel": w.ApproveSender(ann(t), "main", id, "default", "r"),
			"account": w.DismissSender(ann(t), "main", "telegram", id, "r"),
		} {
			if e := admin.AsError(err); e.Status != http.StatusBadRequest || e.Kind != "invalid" || strings.Contains(e.Message, id) && id != "" {
				t.Errorf("%s of %q: %+v", what, id, e)
			}
		}
	}
	for _, name := range []string{"", " \t ", strings.Repeat("ä", 65), "a\nb", "a\x00", "\u202eevil", "\xff"} {
		if err := w.RenameDevice(ann(t), "main", "d", name); admin.AsError(err).Kind != "invalid" {
			t.Errorf("named %q: %v", name, err)
		}
	}
	if calls := w.Main.OpenClaw.Calls(); len(calls) != known {
		t.Errorf("OpenClaw heard %q", calls[known:])
	}
	for _, name := range []string{strings.Repeat("ä", 64), `<script>alert(1)</script>`, `"; DROP TABLE device_approvals; --`, "😀"} {
		if err := w.RenameDevice(ann(t), "main", "d", name); err != nil {
			t.Errorf("%q: %v", name, err)
		} else if d := devices(t, w); d.Paired[0].Name != name {
			t.Errorf("%q became %q", name, d.Paired[0].Name)
		}
	}
	for _, id := range []string{"../../x", "nobody", "{}", `","requestId":"r`, "%2e"} {
		for what, err := range map[string]error{
			"approve": second(w.ApproveDevice(ann(t), "main", id)), "reject": w.RejectDevice(ann(t), "main", id),
			"rename": w.RenameDevice(ann(t), "main", id, "n"), "revoke": w.RevokeDevice(ann(t), "main", id), "sender": w.ApproveSender(ann(t), "main", "telegram", "default", id),
		} {
			if e := admin.AsError(err); e.Status != http.StatusNotFound || e.Remedy == "" {
				t.Errorf("%s of unknown %q: %+v", what, id, e)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAutoPairing(t *testing.T) {
	person := access.Principal{Kind: access.KindPerson, Name: "ann", Via: access.ViaOIDC}
	onMain, onOther := person, person
	onMain.Agent, onOther.Agent = "main", "other"
	for name, tt := range map[string]struct {
		who  access.Principal
		off  bool
		kind string // of the refusal
	}{
		"a person":                          {who: person},
		"a person on the agent's pages":     {who: onMain},
		"a developer":                       {who: access.Principal{Kind: access.KindDeveloper, Via: access.ViaDevMode}},
		"a person, by policy off":           {who: person, off: true, kind: "auto_pair_off"},
		"a person on another agent's pages": {who: onOther, kind: "forbidden"},
		"a holder of the token":             {who: access.Principal{Kind: access.KindHolder, Agent: "main"}, kind: "forbidden"},
		"a service that may everything":     {who: access.Principal{Kind: access.KindService, Scopes: []access.Scope{access.Everything}}, kind: "forbidden"},
		"nobody":                            {kind: "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			w := admintest.New(t, func(o *admin.Options) { o.AutoPair = !tt.off })
			w.Main.OpenClaw.Ask("r", "d", "")
			device, err := w.AutoPair(access.With(ann(t), tt.who, access.Place{}), "main", "r")
			if tt.kind != "" {
				if e := admin.AsError(err); err == nil || e.Kind != tt.kind || e.Status != http.StatusForbidden {
					t.Errorf("%+v, %v", device, err)
				}
				return
			}
			if err != nil || device.How != admin.HowAutomatic || device.ApprovedBy != tt.who.String() {
				t.Fatalf("%+v, %v", device, err)
			}
			if d := devices(t, w); len(d.Paired) != 1 || d.Paired[0].How != admin.HowAutomatic {
				t.Errorf("%+v", d)
			}
			if found := actions(t, w, "device.approve"); len(found) != 1 || !strings.HasPrefix(found[0].Detail, "automatic: ") {
				t.Errorf("%+v", found)
			}
		})
	}
}

// wait receives, and fails the test when nothing comes.
func wait[T any](t testing.TB, ch <-chan T, what string) (v T, ok bool) {
	t.Helper()
	select {
	case v, ok = <-ch:
		return v, ok
	case <-time.After(30 * time.Second):
		t.Fatalf("no %s", what)
		return v, false
	}
}

// Those who watch are told of every change, by one connection however many they
// are, and keep no agent awake.
func TestDevicesAreWatched(t *testing.T) {
	w := admintest.New(t, nil)
	first, leave := context.WithCancel(ann(t))
	var watching []<-chan struct{}
	for range 10 {
		ch, err := w.WatchDevices(first, "main")
		if err != nil {
			t.Fatal(err)
		}
		wait(t, ch, "word at the start")
		watching = append(watching, ch)
	}
	if w.Main.Log() != "" {
		t.Fatalf("it was used: %s", w.Main.Log())
	}
	w.Main.Become(agent.StateAwake)
	until(t, "a connection", func() bool { return w.Main.OpenClaw.Connections() == 1 })
	// What is pending now is seen at the latest after the next word.
	w.Main.OpenClaw.Ask("r", "d", "")
	for _, ch := range watching {
		for seen := false; !seen; {
			wait(t, ch, "word of a request")
			seen = len(devices(t, w).Pending) == 1
		}
	}
	if w.Main.Log() != "" {
		t.Errorf("it was used: %s", w.Main.Log())
	}
	w.Main.OpenClaw.Drop() // it dials again
	until(t, "another connection", func() bool { return w.Main.OpenClaw.Connections() == 1 })
	w.Main.Become(agent.StateAsleep)
	until(t, "end of the connection", func() bool { return w.Main.OpenClaw.Connections() == 0 })
	if w.Main.Status().State != agent.StateAsleep {
		t.Error("watching woke it")
	}
	leave()
	for _, ch := range watching {
		for ok := true; ok; {
			_, ok = wait(t, ch, "end")
		}
	}
	w.Main.Become(agent.StateAwake)
	again, err := w.WatchDevices(ann(t), "main")
	if err != nil {
		t.Fatal(err)
	}
	wait(t, again, "word at the start")
	until(t, "a connection for who came later", func() bool { return w.Main.OpenClaw.Connections() == 1 })
}

// until polls for what others do at their own time.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A record that cannot be kept is an error: what happened must not look unseen.
func TestWhatCannotBeRecordedIsSaid(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.OpenClaw.Ask("r", "d", "")
	w.Options.Store.Close()
	if _, err := w.ApproveDevice(ann(t), "main", "r"); err == nil {
		t.Error("all went well")
	}
	var none *admin.Error
	if _, err := w.Run(ann(t), "main", []string{"true"}, time.Second); err == nil || errors.As(err, &none) || strings.Contains(w.Main.Log(), "exec") {
		t.Errorf("%v; %s", err, w.Main.Log())
	}
}

// OpenClaw's own command can let a device in anew, inside. That is not ann's doing.
func TestAnApprovalMadeElsewhereIsNobodysHere(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.OpenClaw.Ask("r", "d", "")
	if _, err := w.ApproveDevice(ann(t), "main", "r"); err != nil {
		t.Fatal(err)
	}
	for at, by := range map[time.Duration]string{0: "person ann@example.com", 10 * time.Minute: ""} {
		w.Main.OpenClaw.Approved("d", time.Now().Add(at))
		if d := devices(t, w); d.Paired[0].ApprovedBy != by {
			t.Errorf("after %s: %+v", at, d.Paired[0])
		}
	}
}

// What was seen is kept by the next process too, and goes with the agent.
func TestDevicesAreRememberedUntilTheirAgentGoes(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.Become(agent.StateAwake)
	w.Main.OpenClaw.Ask("r", "d", "")
	devices(t, w)
	devices(t, w)
	w.Main.Become(agent.StateAsleep)
	next := admin.New(w.Options)
	if d, err := next.Devices(ann(t), "main"); err != nil || len(d.Pending) != 1 || d.Reachable || d.Seen.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := w.Remove(ann(t), "main"); err != nil {
		t.Fatal(err)
	}
	if d, err := next.Devices(ann(t), "main"); err != nil || len(d.Pending) != 0 || !d.Seen.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
}
