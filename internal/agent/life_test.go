package agent

import (
	"strings"
	"testing"
)

var (
	states = []State{StateStopped, StateBooting, StateAwake, StateSuspending, StateAsleep, StateWaking, StateFailed}
	events = []event{evBoot, evLost, evReady, evSettle, evStay, evRest, evRouse, evFail, evStop}
)

// Every state meets every event: the whole machine, written down a second time as
// a picture. A dot is a move that does not happen.
func TestEveryStateMeetsEveryEvent(t *testing.T) {
	picture := map[State]string{
		//                boot    lost    ready settle     stay  rest   rouse  fail   stop
		StateStopped:    "booting .       .     .          .     asleep .      .      stopped",
		StateBooting:    "booting booting awake .          .     .      .      failed stopped",
		StateAwake:      "booting booting awake suspending .     .      .      failed stopped",
		StateSuspending: ".       booting .     .          awake asleep .      .      stopped",
		StateAsleep:     "booting .       .     .          .     .      waking .      stopped",
		StateWaking:     "booting booting awake .          .     .      .      failed stopped",
		StateFailed:     "booting booting awake .          .     .      .      failed stopped",
	}
	for _, s := range states {
		row := strings.Fields(picture[s])
		if len(row) != len(events) {
			t.Fatalf("%s: %d columns, want %d", s, len(row), len(events))
		}
		for i, e := range events {
			want := State(row[i])
			next, moved := s.after(e)
			if want == "." {
				if moved || next != s {
					t.Errorf("%s moves to %s on %s", s, next, e)
				}
			} else if !moved || next != want {
				t.Errorf("%s on %s: %s (moved: %t), want %s", s, e, next, moved, want)
			}
		}
	}
	if len(moves) != len(states) {
		t.Errorf("the machine has %d states, the picture %d", len(moves), len(states))
	}
}

// From everywhere an agent can be woken, put to sleep and stopped, in a bounded
// number of moves: no state is a trap.
func TestNoStateIsATrap(t *testing.T) {
	for _, from := range states {
		reached := map[State]bool{from: true}
		for range states {
			for s := range reached {
				for _, e := range events {
					next, _ := s.after(e)
					reached[next] = true
				}
			}
		}
		for _, to := range states {
			if !reached[to] {
				t.Errorf("%s is never reached from %s", to, from)
			}
		}
	}
}

// Whatever a killed host left behind, there is one thing to do about it, and it
// never runs two sandboxes on one home, nor an image whose sandbox has run on.
func TestReconcile(t *testing.T) {
	for _, tc := range []struct {
		asleep, running, image bool
		want                   plan
	}{
		{false, false, false, planBoot},
		{false, false, true, planRestore}, // killed between deciding to wake and taking the image
		{false, true, false, planAdopt},
		{false, true, true, planAdopt}, // killed between the image and its sandbox's going on
		{true, false, false, planRest}, // its image was evicted, or the driver makes none
		{true, false, true, planRest},
		{true, true, false, planRetire}, // killed on the way to sleep
		{true, true, true, planFinish},  // killed between the image and the sandbox's end
	} {
		if got := reconcile(found{tc.asleep, tc.running, tc.image}); got != tc.want {
			t.Errorf("wanted asleep %t, running %t, image %t: %s, want %s", tc.asleep, tc.running, tc.image, got, tc.want)
		}
	}
}
