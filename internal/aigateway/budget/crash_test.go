package budget

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

const crashEnv = "BUDGET_TEST_CRASH_DIR"

// TestCrashChild is the process that is killed. It says on standard output what it is
// about to do and what it did.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashEnv)
	if dir == "" {
		t.Skip("it is run by TestKilledAtAnyPoint")
	}
	l, err := Open(Options{Dir: dir, Zone: utc})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	l.mu.Lock()
	l.foldAt = 4096 // some forty calls
	l.mu.Unlock()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(i)))
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d.%d.%d", os.Getpid(), i, n)
				cost := rnd.Int64N(1000)
				fmt.Printf("try %s %d\n", id, cost+7)
				r, err := l.Reserve(Call{ID: id, Agent: "ada"}, price.Money(cost+7), 1)
				if err != nil {
					fmt.Println("failed", err)
					return
				}
				fmt.Printf("reserved %s %d\n", id, cost+7)
				switch n % 5 {
				case 4:
					r.Release()
					fmt.Printf("released %s %d\n", id, 0)
				default:
					fmt.Printf("settling %s %d\n", id, cost)
					r.Settle(price.Money(cost), 1)
					fmt.Printf("settled %s %d\n", id, cost)
				}
			}
		})
	}
	all.Wait()
}

// told is what is known of a call from outside.
type told struct {
	most, cost int64
	state      string
}

func TestKilledAtAnyPoint(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(Options{Dir: dir, Zone: utc})
	must(t, err)
	setRules(t, l, Rule{ID: "t", Period: Total, Limit: 1000 * price.Dollar})
	must(t, l.Close())
	rnd := rand.New(rand.NewPCG(7, 7))
	calls := map[string]*told{}
	for round := range 12 {
		runAndKill(t, dir, 20+rnd.IntN(1500), calls)
		l, err := Open(Options{Dir: dir, Zone: utc})
		must(t, err)
		compare(t, l, calls, round)
		must(t, l.Close())
	}
}

// runAndKill kills a child after it said so many lines, and notes them.
func runAndKill(t *testing.T, dir string, after int, calls map[string]*told) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == after {
			must(t, cmd.Process.Kill())
		}
		word, rest, _ := strings.Cut(lines.Text(), " ")
		var id string
		var amount int64
		if _, err := fmt.Sscan(rest, &id, &amount); err != nil {
			if word == "failed" {
				t.Errorf("child: %s", lines.Text())
			}
			continue // cut off
		}
		c := calls[id]
		if c == nil {
			c = &told{}
			calls[id] = c
		}
		c.state = word
		switch word {
		case "try", "reserved":
			c.most = amount
		case "settling", "settled":
			c.cost = amount
		}
	}
	_ = cmd.Wait() // it was killed
}

// compare works out from what was told between which bounds the ledger must be. A
// call in the middle of a step is on one side of it or on the other; all else is
// exact.
func compare(t *testing.T, l *Ledger, calls map[string]*told, round int) {
	t.Helper()
	flight := map[string]int64{}
	for id, p := range l.book.ids {
		flight[id] = int64(p.most)
	}
	var least, most int64 // spent
	settled := 0
	for id, c := range calls {
		_, open := flight[id]
		switch c.state {
		case "settled", "released":
			if open {
				t.Errorf("round %d: call %s was %s and is under way", round, id, c.state)
			}
			least, most, settled = least+c.cost, most+c.cost, settled+1
		case "settling":
			if !open {
				least, most = least+c.cost, most+c.cost
			}
		case "reserved": // may have been released
		}
		if open && flight[id] != c.most {
			t.Errorf("round %d: call %s holds %d, want %d", round, id, flight[id], c.most)
		}
		delete(flight, id)
	}
	if len(flight) > 0 {
		t.Errorf("round %d: calls nobody made: %v", round, flight)
	}
	r := ruleState(t, l, "t", "")
	if int64(r.Spent) < least || int64(r.Spent) > most {
		t.Errorf("round %d: spent %d, want %d to %d (%d calls settled)", round, r.Spent, least, most, settled)
	}
	if d := l.State().Damage; len(d) > 0 {
		t.Errorf("round %d: damage %q", round, d)
	}
	if settled == 0 && round > 3 {
		t.Errorf("round %d: nothing was settled at all", round)
	}
}
