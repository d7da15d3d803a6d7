package route

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"testing"
)

// split makes a file with one split, of a route and with arms of the weights.
func split(name, by string, weights ...int) string {
	arms := ""
	for i, w := range weights {
		if i > 0 {
			arms += ","
		}
		arms += fmt.Sprintf(`{"weight": %d, "model": "p/arm-%d"}`, w, i)
	}
	return fmt.Sprintf(`{"routes": [{"name": %q, "when": {}, "steps": [{"split": [%s], "by": %q}]}]}`, name, arms, by)
}

// armOf is the arm of the only step.
func armOf(t testing.TB, table *Table, c Call) int {
	t.Helper()
	c.Model = "a/b"
	p, ok := table.Find(c)
	if !ok || len(p.Steps) != 1 || p.Steps[0].Model != fmt.Sprintf("p/arm-%d", p.Steps[0].Arm) {
		t.Fatalf("%+v: %v %+v", c, ok, p)
	}
	return p.Steps[0].Arm
}

// Agents must not change their arms when the program is a newer one: these stay. They
// were worked out apart from this code, with big integers.
func TestArmsStayForever(t *testing.T) {
	ab := parse(t, split("ab", "agent", 80, 20))
	many := parse(t, split("many", "metadata:user", 1, 2, 3, 4))
	call := parse(t, split("fresh", "call", 1, 1, 1, 1, 1))
	golden := map[string][3]int{
		"main":        {0, 1, 1},
		"work":        {0, 3, 1},
		"home-1":      {0, 1, 1},
		"home-2":      {0, 3, 1},
		"night":       {0, 3, 1},
		"@backup":     {0, 2, 4},
		"ada":         {0, 2, 1},
		"bob":         {0, 2, 1},
		"eve":         {1, 2, 1},
		"agent-12345": {1, 2, 3},
		"ünïcode":     {0, 0, 2},
		"":            {1, 2, 1},
	}
	for name, want := range golden {
		draw := uint64(len(name)) << 40
		got := [3]int{
			armOf(t, ab, Call{Agent: name}),
			armOf(t, many, Call{Agent: "x", Metadata: map[string]string{"user": name}}),
			armOf(t, call, Call{Agent: name, Draw: draw}),
		}
		if got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

// The hash is FNV-1a, as the standard library has it, of the route, a zero byte, the
// step's number and the key.
func TestHash(t *testing.T) {
	reference := func(parts ...[]byte) uint64 {
		h := fnv.New64a()
		for _, p := range parts {
			h.Write(p)
		}
		return mix(h.Sum64())
	}
	head := []byte("route\x00\x03")
	c := Call{Agent: "agent", Draw: 0x0102030405060708, Metadata: map[string]string{"user": "ü", "empty": ""}}
	for _, k := range []struct {
		by  by
		key []byte
	}{
		{by{}, []byte("agent")},
		{by{member: "user"}, []byte("ü")},
		{by{member: "empty"}, []byte("agent")},
		{by{member: "none"}, []byte("agent")},
		{by{call: true}, binary.LittleEndian.AppendUint64(nil, c.Draw)},
	} {
		s := step{by: k.by}
		if got, want := s.hash("route", 3, &c), reference(head, k.key); got != want {
			t.Errorf("%+v: %x, want %x", k.by, got, want)
		}
	}
	// MurmurHash3's fmix64 of 1, worked out apart from this code with big integers.
	if got := mix(1); got != 0xb456bcfc34c2cb2c || mix(0) != 0 {
		t.Errorf("mix(1) is %x", got)
	}
}

// Of n names about n*w/total fall to an arm of weight w. The spread is that of n
// draws: sigma = sqrt(n*p*(1-p)), and 4 sigma are left by 1 of 16,000 such counts.
func TestSplitsAreAsTheirWeights(t *testing.T) {
	const n = 10_000
	for _, c := range []struct {
		weights []int
		bounds  [][2]int
	}{
		// p 0.8: 8000, sigma sqrt(1600) = 40; p 0.2: 2000, sigma the same.
		{[]int{80, 20}, [][2]int{{7840, 8160}, {1840, 2160}}},
		// The same shares by other weights.
		{[]int{800_000, 200_000}, [][2]int{{7840, 8160}, {1840, 2160}}},
		// p 0.5: sigma 50.
		{[]int{1, 1}, [][2]int{{4800, 5200}, {4800, 5200}}},
		// p 0.1 to 0.4: sigma 30, 40, 45.8, 49.
		{[]int{1, 2, 3, 4}, [][2]int{{880, 1120}, {1840, 2160}, {2817, 3183}, {3804, 4196}}},
		// p 0.01: 100, sigma sqrt(99) = 9.95.
		{[]int{99, 1}, [][2]int{{9860, 9940}, {60, 140}}},
		// p 1e-6: 0.01 expected; one of it would be a chance of 1 in 100.
		{[]int{1_000_000, 1}, [][2]int{{n, n}, {0, 0}}},
		{[]int{7}, [][2]int{{n, n}}},
	} {
		for _, by := range []string{"agent", "metadata:user", "call"} {
			table := parse(t, split("shares", by, c.weights...))
			counts := make([]int, len(c.weights))
			for i := range n {
				name := fmt.Sprintf("agent-%d", i)
				call := Call{Agent: name, Draw: uint64(i) << 32}
				if by == "metadata:user" {
					call = Call{Agent: "one", Metadata: map[string]string{"user": name}}
				}
				counts[armOf(t, table, call)]++
			}
			for i, b := range c.bounds {
				if counts[i] < b[0] || counts[i] > b[1] {
					t.Errorf("%v by %s: arm %d has %d, not %d to %d", c.weights, by, i, counts[i], b[0], b[1])
				}
			}
		}
	}
}

// Whatever else changes about a call, its arm stays; and only "call" looks at Draw.
func TestArmsStick(t *testing.T) {
	byAgent := parse(t, split("r", "agent", 1, 1))
	byUser := parse(t, split("r", "metadata:user", 1, 1))
	byCall := parse(t, split("r", "call", 1, 1))
	moved := 0
	for i := range 200 {
		name := fmt.Sprint("agent-", i)
		a := armOf(t, byAgent, Call{Agent: name})
		if b := armOf(t, byAgent, Call{Agent: name, Trigger: "cron", Draw: 1 << 63, Metadata: map[string]string{"user": "u"}}); a != b {
			t.Errorf("%s went from arm %d to %d", name, a, b)
		}
		u := armOf(t, byUser, Call{Agent: "x", Metadata: map[string]string{"user": name}})
		if u != a || armOf(t, byUser, Call{Agent: "y", Draw: 7, Metadata: map[string]string{"user": name}}) != u {
			t.Errorf("user %s does not keep arm %d", name, u)
		}
		if armOf(t, byUser, Call{Agent: name}) != a || armOf(t, byUser, Call{Agent: name, Metadata: map[string]string{"user": ""}}) != a {
			t.Errorf("without a user %s has not the agent's arm", name)
		}
		if armOf(t, byCall, Call{Agent: "x", Draw: uint64(i)}) != armOf(t, byCall, Call{Agent: "x", Draw: uint64(i) + 1000}) {
			moved++
		}
		if armOf(t, byCall, Call{Agent: "x", Draw: uint64(i)}) != armOf(t, byCall, Call{Agent: "y", Draw: uint64(i)}) {
			t.Error("a draw is looked at together with the agent")
		}
	}
	// Half of 200 draws differ: 100, sigma sqrt(50) = 7.1; 4 of it are 28.
	if moved < 72 || moved > 128 {
		t.Errorf("%d of 200 calls moved", moved)
	}
}

// Routes, and steps of one, sort agents independently: who has the first arm of one
// has the first of another in half of the cases.
func TestSplitsAreIndependent(t *testing.T) {
	one := parse(t, split("one", "agent", 1, 1))
	two := parse(t, split("two", "agent", 1, 1))
	both := parse(t, steps(`{"split": [{"weight": 1}, {"weight": 1}], "by": "call"}, {"split": [{"weight": 1}, {"weight": 1}], "by": "call"}`))
	routes, draws := 0, 0
	for i := range 1000 {
		name := fmt.Sprint("agent-", i)
		if armOf(t, one, Call{Agent: name}) == armOf(t, two, Call{Agent: name}) {
			routes++
		}
		if p, _ := both.Find(Call{Model: "a/b", Draw: uint64(i)}); p.Steps[0].Arm == p.Steps[1].Arm {
			draws++
		}
	}
	// 500, sigma sqrt(250) = 15.8; 4 of it are 63.
	for _, n := range []int{routes, draws} {
		if n < 437 || n > 563 {
			t.Errorf("%d of 1000 are equal (routes %d, steps %d)", n, routes, draws)
		}
	}
}

// More weight for the first arm takes nobody away from it.
func TestRolloutKeepsWhomItHas(t *testing.T) {
	before, after := parse(t, split("r", "agent", 10, 90)), parse(t, split("r", "agent", 30, 70))
	joined := 0
	for i := range 1000 {
		c := Call{Agent: fmt.Sprint("agent-", i)}
		switch b, a := armOf(t, before, c), armOf(t, after, c); {
		case b == 0 && a != 0:
			t.Errorf("%s lost its arm", c.Agent)
		case b != a:
			joined++
		}
	}
	// From 10 to 30 of 100: 200 of 1000, sigma sqrt(160) = 12.6; 4 of it are 51.
	if joined < 149 || joined > 251 {
		t.Errorf("%d joined", joined)
	}
}

// A call by name chooses among the arms that name a model, by their own weights.
func TestSplitByName(t *testing.T) {
	table := parse(t, steps(`{"split": [{"weight": 1000000}, {"weight": 3, "model": "p/a"}, {"weight": 1000000, "model": "same"}, {"weight": 1, "model": "p/b"}]},
		{"split": [{"weight": 1}]}`))
	counts := map[string]int{}
	for i := range 1000 {
		p, ok := table.Find(Call{Agent: fmt.Sprint("agent-", i), Model: "dynamic/careful"})
		if !ok || len(p.Steps) != 1 || p.Steps[0].Model == "p/a" && p.Steps[0].Arm != 1 || p.Steps[0].Model == "p/b" && p.Steps[0].Arm != 3 {
			t.Fatal(p)
		}
		counts[p.Steps[0].Model]++
	}
	// 3 of 4: 750, sigma sqrt(187.5) = 13.7; 4 of it are 54.
	if a := counts["p/a"]; a < 696 || a > 804 || a+counts["p/b"] != 1000 {
		t.Error(counts)
	}
}
