package budget

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// everyKind is a journal with records of all kinds.
func everyKind() []record {
	w := who{"ada", "", "anthropic", "claude 4%\n-", "-"}
	return []record{
		{seq: 1, kind: recReserve, at: 1_700_000_000_000, day: 2026_01_15, money: 5 * cent, tokens: 10, who: w, id: "c 1"},
		{seq: 2, kind: recReserve, at: -5, day: 2026_01_15, money: 7 * cent, who: who{Model: "Modèle"}},
		{seq: 3, kind: recReserve, day: 2026_01_15, money: 9 * cent, tokens: 3},
		{seq: 4, kind: recReserve, day: 2026_01_16, money: cent},
		{seq: 5, kind: recSettle, ref: 1, money: 4 * cent, tokens: 9},
		{seq: 6, kind: recUnknown, ref: 2, tokens: 8},
		{seq: 7, kind: recRelease, ref: 4},
		{seq: 8, kind: recExpire, ref: 3},
		{seq: 9, kind: recLate, ref: 8, day: 2026_01_15, money: 2 * cent, tokens: 2, most: 9 * cent, mostTokens: 3, how: recSettle},
	}
}

func lines(records []record) (out []byte) {
	for _, r := range records {
		out = r.appendLine(out)
	}
	return out
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	for _, r := range everyKind() {
		line := r.appendLine(nil)
		got, err := parseLine(line[:len(line)-1])
		if err != nil || got != r {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", line, err, got, r)
		}
		for i := range line[:len(line)-1] { // any one character that is another is found
			bad := bytes.Clone(line[:len(line)-1])
			bad[i] ^= 1
			if _, err := parseLine(bad); err == nil {
				t.Errorf("%q was read", bad)
			}
		}
	}
}

// A journal that was cut anywhere holds what was whole, and that is no damage.
func TestTornTails(t *testing.T) {
	records := everyKind()
	whole := lines(records)
	end := 0 // of the records before
	n := 0
	for cut := range len(whole) + 1 {
		for n < len(records) && cut >= end+len(records[n].appendLine(nil)) {
			end += len(records[n].appendLine(nil))
			n++
		}
		var got []record
		g, err := read(bytes.NewReader(whole[:cut]), 1, func(r *record) error { got = append(got, *r); return nil })
		if err != nil || len(g.damage) > 0 || !reflect.DeepEqual(got, append([]record(nil), records[:n]...)) || g.next != uint64(n)+1 {
			t.Fatalf("cut at %d: %d records, next %d, %v %q; want %d", cut, len(got), g.next, err, g.damage, n)
		}
	}
	if n != len(records) {
		t.Fatalf("only %d records were whole", n)
	}
}

// The same through a ledger: cut, opened, used and opened again.
func TestALedgerGoesOnAfterATornTail(t *testing.T) {
	records := everyKind()
	whole := lines(records)
	for cut := 0; cut <= len(whole); cut += 7 {
		clk, dir := newClock(), t.TempDir()
		clk.set(time.UnixMilli(0))
		must(t, os.WriteFile(filepath.Join(dir, journalName(1)), whole[:cut], 0o600))
		want := newBook()
		for _, r := range records[:bytes.Count(whole[:cut], []byte{'\n'})] {
			must(t, want.apply(&r))
		}
		for range 2 {
			l := openFor(t, dir, clk)
			noDamage(t, l)
			if got := l.book; !reflect.DeepEqual(rowsOf(got), rowsOf(want)) || len(got.flight) != len(want.flight) {
				t.Fatalf("cut at %d: %+v, want %+v", cut, rowsOf(got), rowsOf(want))
			}
			w := who{Agent: "new"}
			spend(t, l, Call{Agent: "new", At: time.Date(2026, 1, 15, 0, 0, 0, 0, utc)}, cent, 1)
			want.row(&w, 2026_01_15).add(tally{Money: cent, Tokens: 1, Calls: 1})
			must(t, l.Close())
		}
	}
}

func rowsOf(b *book) map[rowKey]tally {
	out := map[rowKey]tally{}
	for _, s := range b.months {
		for k, t := range s.rows {
			out[k] = *t
		}
	}
	return out
}

func TestDamageInTheMiddleIsToldAndTheRestCounts(t *testing.T) {
	records := everyKind()
	join := func(except int) []byte {
		return lines(append(append([]record(nil), records[:except]...), records[except+1:]...))
	}
	flip := func(at int) []byte {
		b := lines(records)
		b[at] ^= 4
		return b
	}
	for name, c := range map[string]struct {
		journal []byte
		first   uint64
		want    string
	}{
		"a bit":            {flip(20), 1, "a line at byte 0 cannot be read"},
		"the last line":    {flip(len(lines(records)) - 3), 1, "cannot be read"},
		"a line is gone":   {join(4), 1, "records 5 to 5 are missing"},
		"the first is":     {join(0), 1, "records 1 to 1 are missing"},
		"a line twice":     {append(lines(records), lines(records[8:])...), 1, "record 9"},
		"a file is":        {lines(records[4:]), 5, "records 1 to 4 are missing before it"},
		"an endless line":  {append(append(bytes.Repeat([]byte("x"), 3*maxLine), '\n'), lines(records)...), 1, "a line at byte 0 cannot be read"},
		"nothing but dirt": {[]byte("\n\n\n"), 1, "a line at byte 2 cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			clk, dir := newClock(), t.TempDir()
			file := journalName(c.first)
			must(t, os.WriteFile(filepath.Join(dir, file), c.journal, 0o600))
			l := openFor(t, dir, clk)
			if d := strings.Join(l.State().Damage, "; "); !strings.Contains(d, c.want) {
				t.Errorf("damage %q, want %q", d, c.want)
			}
			spend(t, l, Call{Agent: "new"}, cent, 1) // it works
			must(t, l.Close())
			kept, err := os.ReadFile(filepath.Join(dir, file+damagedLast))
			if err != nil || !bytes.Equal(kept, c.journal) {
				t.Errorf("the damaged journal was not kept: %v", err)
			}
			l = openFor(t, dir, clk)
			if d := l.State().Damage; len(d) != 1 || !strings.Contains(d[0], "Remove it") {
				t.Errorf("opened again: %q", d)
			}
			if rows := l.Statement(2026, 1, "new", ""); len(rows) != 1 || rows[0].Money != cent {
				t.Errorf("%+v", rows)
			}
		})
	}
}

func TestWhatIsSpentOrAllowedIsNotGuessed(t *testing.T) {
	for _, c := range []struct{ file, content string }{
		{ledgerFile, ""}, {ledgerFile, "00000000\n{}"}, {ledgerFile, "no"},
		{rulesFile, ""}, {rulesFile, "{}"}, {rulesFile, `{"format":1,"rules":[{"id":"x"}]}`},
		{rulesFile, `{"format":1,"rulse":[]}`}, {rulesFile, `{"format":1} {}`}, {rulesFile, `{"format":2}`},
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o600))
		if l, err := Open(Options{Dir: dir}); err == nil {
			l.Close()
			t.Errorf("%s with %q was taken", c.file, c.content)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	l := openFor(t, dir, newClock())
	if _, err := Open(Options{Dir: dir}); err == nil {
		t.Error("opened twice")
	}
	must(t, l.Close())
	must(t, l.Close())
	if _, err := l.Reserve(Call{}, 0, 0); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	openFor(t, dir, newClock())
}

// The journal's file is closed under the ledger, which is as bad as a full disk, and
// the directory is taken away.
func TestAFullDisk(t *testing.T) {
	clk, dir := newClock(), filepath.Join(t.TempDir(), "ledger")
	l := openFor(t, dir, clk)
	setRules(t, l, Rule{ID: "ada", Period: Day, Limit: price.Dollar, Match: Match{Agent: "ada"}})
	ada, bob := Call{Agent: "ada"}, Call{Agent: "bob"}
	under := reserve(t, l, ada, 10*cent, 0)

	must(t, os.Rename(dir, dir+".away"))
	l.mu.Lock()
	l.out.file.Close()
	l.mu.Unlock()
	if _, err := l.Reserve(ada, cent, 0); !errors.Is(err, ErrUnwritable) {
		t.Errorf("a call with a budget: %v", err)
	}
	spend(t, l, bob, cent, 0) // has none
	under.Settle(7*cent, 0)
	clk.add(mendEvery)
	if _, err := l.Reserve(ada, cent, 0); !errors.Is(err, ErrUnwritable) {
		t.Errorf("a call with a budget: %v", err)
	}
	if l.State().Failing == "" {
		t.Error("State does not tell")
	}

	must(t, os.Rename(dir+".away", dir))
	clk.add(mendEvery)
	spend(t, l, ada, cent, 0)
	if f := l.State().Failing; f != "" {
		t.Errorf("still failing: %s", f)
	}
	must(t, l.Close())
	l = openFor(t, dir, clk)
	wantSpent(t, l, "ada", 8*cent, 0)
	if rows := l.Statement(2026, 1, "bob", ""); len(rows) != 1 || rows[0].Money != cent {
		t.Errorf("what was spent meanwhile is lost: %+v", rows)
	}
	noDamage(t, l)
}

// A large journal is folded into the ledger file, with calls under way.
func TestFolding(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	setRules(t, l, Rule{ID: "t", Period: Total, Limit: price.Dollar}, Rule{ID: "e", Period: Total, Each: true, Tokens: 10_000})
	under := reserve(t, l, Call{Agent: "bob", ID: "b"}, 5*cent, 5)
	spend(t, l, Call{Agent: "ada"}, cent, 1)
	l.mu.Lock()
	before := l.out.name
	l.foldAt = l.out.size + 1 // full with the next record
	l.mu.Unlock()
	spend(t, l, Call{Agent: "ada"}, cent, 1)
	l.mu.Lock()
	after := l.out.name
	l.foldAt = journalSize
	l.mu.Unlock()
	if before == after {
		t.Fatal("no new journal")
	}
	under.Settle(4*cent, 4)
	spend(t, l, Call{Agent: "ada"}, cent, 1)
	must(t, l.Close()) // waits for the ledger file
	names, _, err := journals(dir)
	if err != nil || len(names) != 1 || names[0] != after {
		t.Errorf("journals %q, %v; want only %s", names, err, after)
	}
	l = openFor(t, dir, clk)
	noDamage(t, l)
	wantSpent(t, l, "t", 7*cent, 0)
	if r := ruleState(t, l, "e", "ada"); r.SpentTokens != 3 {
		t.Errorf("%+v", r)
	}
	if r := ruleState(t, l, "e", "bob"); r.SpentTokens != 4 || r.InFlight != 0 {
		t.Errorf("%+v", r)
	}
}

func FuzzJournal(f *testing.F) {
	whole := lines(everyKind())
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(append([]byte("garbage\n"), whole...))
	f.Add(bytes.Replace(whole, []byte("ada"), []byte("eve"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBook()
		last := uint64(0)
		n := 0
		g, err := read(bytes.NewReader(data), 1, func(r *record) error {
			if r.seq <= last {
				t.Fatalf("record %d after %d", r.seq, last)
			}
			last = r.seq
			n++
			return b.apply(r)
		})
		if err != nil {
			t.Fatal(err)
		}
		if whole := bytes.Count(data, []byte{'\n'}); n < whole && len(g.damage) == 0 {
			t.Fatalf("%d of %d lines were read, and nothing was told", n, whole)
		}
		if len(g.damage) > maxDamage {
			t.Fatal("it tells without end")
		}
		for _, r := range rowsOf(b) {
			if r.UnsettledMoney > 0 && r.Money < 0 {
				t.Fatalf("%+v", r)
			}
		}
	})
}

func FuzzLine(f *testing.F) {
	for _, r := range everyKind() {
		f.Add(r.appendLine(nil)[crcDigits+1:])
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		line := append([]byte("00000000 "), rest...)
		putHex(line, checksum(rest)) // else nothing comes past it
		if r, err := parseLine(line); err == nil {
			again := r.appendLine(nil)
			if back, err := parseLine(again[:len(again)-1]); err != nil || back != r {
				t.Fatalf("%q is %+v, and then %+v, %v", line, r, back, err)
			}
		}
	})
}
