package agent

// An event is what moves an agent from one state of its life to another.
type event string

const (
	evBoot   event = "boot"   // a sandbox or its gateway is started, or started again
	evLost   event = "lost"   // the sandbox ended unasked; another will be started
	evReady  event = "ready"  // the gateway answers and takes work
	evSettle event = "settle" // it is decided that the agent is to sleep; nothing new is let in
	evStay   event = "stay"   // it stays awake after all
	evRest   event = "rest"   // nothing of it runs any more, and it may be woken
	evRouse  event = "rouse"  // its image is taken to be brought back to life
	evFail   event = "fail"   // nothing but a person can help
	evStop   event = "stop"   // it is not wanted any more
)

// moves are all the ways there are from state to state. What is not here does
// not happen: news from a guest that comes too late (the gateway is ready, says a
// sandbox that is just being put to sleep) changes nothing.
var moves = map[State]map[event]State{
	StateStopped: {
		evBoot: StateBooting,
		evRest: StateAsleep, // it was left asleep by an earlier process
		evStop: StateStopped,
	},
	StateBooting: {
		evBoot:  StateBooting,
		evLost:  StateBooting,
		evReady: StateAwake,
		evFail:  StateFailed,
		evStop:  StateStopped,
	},
	StateAwake: {
		evBoot:   StateBooting,
		evLost:   StateBooting,
		evReady:  StateAwake,
		evSettle: StateSuspending,
		evFail:   StateFailed,
		evStop:   StateStopped,
	},
	StateSuspending: {
		evLost: StateBooting,
		evStay: StateAwake, // how the gateway really is, is asked then
		evRest: StateAsleep,
		evStop: StateStopped,
	},
	StateAsleep: {
		evBoot:  StateBooting, // without an image, or with one that is of no use
		evRouse: StateWaking,
		evStop:  StateStopped,
	},
	StateWaking: {
		evBoot:  StateBooting, // the image was no good
		evLost:  StateBooting,
		evReady: StateAwake,
		evFail:  StateFailed,
		evStop:  StateStopped,
	},
	StateFailed: {
		evBoot:  StateBooting,
		evLost:  StateBooting,
		evReady: StateAwake, // it mended by itself
		evFail:  StateFailed,
		evStop:  StateStopped,
	},
}

// after is the state that e leads to, and whether it leads anywhere.
func (s State) after(e event) (State, bool) {
	next, ok := moves[s][e]
	if !ok {
		return s, false
	}
	return next, true
}

// found is what a keeper finds of its agent when it begins: what was wanted last,
// and what there is.
type found struct {
	asleep  bool // wanted: asleep; else awake
	running bool // a sandbox, maybe paused
	image   bool // a whole image of the newest state of the home
}

// plan is what to do about it.
type plan string

const (
	planBoot    plan = "boot"    // start a sandbox; an image, if any, is of no use
	planAdopt   plan = "adopt"   // take the running sandbox over; an image is void
	planRetire  plan = "retire"  // take the running sandbox over and put it to sleep
	planFinish  plan = "finish"  // the image is whole: end the sandbox that it was made of, and rest
	planRest    plan = "rest"    // leave it asleep, with an image or without
	planRestore plan = "restore" // bring the image back to life
)

// reconcile decides. An image is complete only while the sandbox that it was made
// of has not run on, so where both are there, either may be kept.
func reconcile(f found) plan {
	switch {
	case f.asleep && f.running && f.image:
		return planFinish
	case f.asleep && f.running:
		return planRetire
	case f.asleep:
		return planRest
	case f.running:
		return planAdopt
	case f.image:
		return planRestore
	}
	return planBoot
}
