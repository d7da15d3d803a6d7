package faulttest

import (
	"math/rand/v2"
	"strings"
)

// Always lets the same thing go wrong with every call.
func Always(fault Fault) Script { return func(Call) Fault { return fault } }

// Nth lets the n-th call of a method go wrong, counted from 1.
func Nth(op Op, n int, fault Fault) Script {
	return func(c Call) Fault {
		if c.Op == op && c.OfOp == n {
			return fault
		}
		return None
	}
}

// First lets the first n calls go wrong, whatever they are.
func First(n int, fault Fault) Script {
	return func(c Call) Fault {
		if c.N <= n {
			return fault
		}
		return None
	}
}

// On lets every call of a method whose name begins with prefix go wrong.
func On(op Op, prefix string, fault Fault) Script {
	return func(c Call) Fault {
		if c.Op == op && strings.HasPrefix(c.Name, prefix) {
			return fault
		}
		return None
	}
}

// Any lets happen what the first of the scripts has in mind that has anything.
func Any(scripts ...Script) Script {
	return func(c Call) Fault {
		for _, s := range scripts {
			if f := s(c); f != None {
				return f
			}
		}
		return None
	}
}

// Random lets one of the faults happen to the given share of calls, from 0 to 1.
// The same seed and the same calls give the same faults.
func Random(seed uint64, share float64, faults ...Fault) Script {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(Call) Fault {
		if r.Float64() < share {
			return faults[r.IntN(len(faults))]
		}
		return None
	}
}

// CrashAtWrite lets the process die at the n-th call that writes, counted from 1:
// before the store does it, or when the store has done it and the process does
// not know yet.
func CrashAtWrite(n int, done bool) Script {
	return func(c Call) Fault {
		if !c.Writes() {
			return None
		}
		if n--; n > 0 {
			return None
		}
		if done {
			return CrashDone
		}
		return Crash
	}
}
