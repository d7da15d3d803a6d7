package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTampering(t *testing.T) {
	const rewrite = `UPDATE audit SET (entry, hash, action) = (SELECT entry, hash, action FROM audit WHERE seq = %d) WHERE seq = %d`
	for _, test := range []struct {
		name    string
		tamper  func(r *room)
		want    string // of eight entries
		resumed string // and of a ninth, recorded in a new life; "" means as before
	}{
		{"nothing", func(*room) {}, "", ""},
		{"an entry altered", sqls(`UPDATE audit SET entry = CAST(replace(CAST(entry AS TEXT), '"main"', '"mail"') AS BLOB) WHERE seq = 4`), "altered 4", ""},
		{"a hash altered", sqls(`UPDATE audit SET hash = zeroblob(32) WHERE seq = 4`), "altered 4", ""},
		{"an entry made unreadable", sqls(`UPDATE audit SET entry = x'00ff' WHERE seq = 4`), "altered 4", ""},
		{"an entry made huge", sqls(`UPDATE audit SET entry = zeroblob(5000000) WHERE seq = 4`), "altered 4", ""},
		{"hidden from a search", sqls(`UPDATE audit SET agent = 'other' WHERE seq = 4`), "altered 4", ""},
		{"moved in time", sqls(`UPDATE audit SET at = at + 1 WHERE seq = 4`), "altered 4", ""},
		{"an entry replaced, with its hash", func(r *room) { r.forge(4) }, "replaced 4", ""},
		{"the first entry replaced", func(r *room) { r.forge(1) }, "replaced 1", ""},
		{"the last entry replaced", func(r *room) { r.forge(8) }, "replaced 8", "replaced 8, reported 9"},
		{"everything from one entry on replaced", func(r *room) { r.forge(5, 6, 7, 8) }, "replaced 8", "replaced 8, reported 9"},
		{"an entry removed", sqls(`DELETE FROM audit WHERE seq = 4`), "missing 4-4", ""},
		{"several removed", sqls(`DELETE FROM audit WHERE seq IN (3, 4, 6)`), "missing 3-4, missing 6-6", ""},
		{"removed, and those behind moved up", sqls(`DELETE FROM audit WHERE seq = 4`, `UPDATE audit SET seq = seq - 1 WHERE seq > 4`),
			"moved 4, moved 5, moved 6, moved 7, missing 8-8", "moved 4, moved 5, moved 6, moved 7, missing 8-8, reported 9"},
		{"two swapped", sqls(`UPDATE audit SET seq = 100 WHERE seq = 4`, `UPDATE audit SET seq = 4 WHERE seq = 5`, `UPDATE audit SET seq = 5 WHERE seq = 100`), "moved 4, moved 5", ""},
		{"one put over another", sqls(fmt.Sprintf(rewrite, 2, 6)), "moved 6", ""},
		{"one put in before all", sqls(`INSERT INTO audit SELECT 0, at, action, actor, agent, entry, hash FROM audit WHERE seq = 1`), "inserted 0", ""},
		{"one put in, those behind moved down", sqls(`UPDATE audit SET seq = seq + 1000 WHERE seq > 4`, `UPDATE audit SET seq = seq - 999 WHERE seq > 1000`,
			`INSERT INTO audit SELECT 5, at, action, actor, agent, entry, hash FROM audit WHERE seq = 2`), "moved 5, moved 6, moved 7, moved 8, moved 9", "*"},
		{"the beginning cut off", sqls(`DELETE FROM audit WHERE seq <= 3`), "missing 1-3", ""},
		{"the end cut off", sqls(`DELETE FROM audit WHERE seq > 6`), "missing 7-8", "missing 7-8, reported 9"},
		{"all removed", sqls(`DELETE FROM audit`), "missing 1-8", "missing 1-8, reported 9"},
		{"the database removed", func(r *room) { r.remove("control.sqlite") }, "missing 1-8", "missing 1-8, reported 9"},
		{"the head file removed", func(r *room) { r.remove(HeadFile) }, "headless 8", "reported 9"},
		{"the head file and the end removed", func(r *room) { r.tamper(`DELETE FROM audit WHERE seq > 6`); r.remove(HeadFile) }, "headless 6", "reported 7"},
		{"the head file filled with something else", func(r *room) { r.setHead("8:zz\n") }, "headless 8", "reported 9"},
		{"the head file set ahead", func(r *room) { r.setHead("9:" + strings.Repeat("a", 64)) }, "missing 9-9", "missing 9-9, reported 10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRoom(t)
			r.record(8)
			test.tamper(r)
			if _, got := r.verify(); got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
			// Going on does not hide it.
			r.record(1)
			if test.resumed == "" {
				test.resumed = test.want
			}
			if _, got := r.verify(); got != test.resumed && test.resumed != "*" || test.want != "" && got == "" {
				t.Errorf("a new life found %q, want %q", got, test.resumed)
			}
			l, _ := r.open()
			if _, err := l.List(t.Context(), Filter{}); err != nil {
				t.Errorf("what is left cannot be listed: %v", err)
			}
			var export strings.Builder
			if err := l.Export(t.Context(), &export); err != nil {
				t.Errorf("what is left cannot be exported: %v", err)
			}
			if _, err := VerifyExport(strings.NewReader(export.String())); err != nil {
				t.Errorf("the export cannot be read: %v", err)
			}
		})
	}
}

func sqls(statements ...string) func(*room) { return func(r *room) { r.tamper(statements...) } }

func (r *room) remove(name string) {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) setHead(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.headFile(), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// forge replaces entries by others that are right in themselves: each follows
// the one before it and has its own hash.
func (r *room) forge(seqs ...int64) {
	r.t.Helper()
	l, db := r.open()
	defer db.Close()
	for _, seq := range seqs {
		list, err := l.List(r.t.Context(), Filter{After: seq - 2, Limit: 1000, Before: seq + 1})
		if err != nil {
			r.t.Fatal(err)
		}
		e := list[0]
		e.Detail = "forged"
		if len(list) > 1 {
			e.Prev = list[1].Hash
		}
		body := e.encode()
		r.tamper(fmt.Sprintf("UPDATE audit SET entry = x'%x', hash = x'%s' WHERE seq = %d", body, sum(body), seq))
	}
}

func TestTamperingWhileRunning(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	recordTo(t, l, 5)
	// The head file is put right with what is left; the process remembers.
	r.tamper(`DELETE FROM audit WHERE seq > 3`)
	list, err := l.List(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	r.setHead(Head{3, list[0].Hash}.String())
	if _, got := verifyOf(t, l); got != "missing 4-5" {
		t.Errorf("found %q", got)
	}
	recordTo(t, l, 1)
	if _, got := verifyOf(t, l); got != "missing 4-5, reported 6" {
		t.Errorf("found %q", got)
	}
}

func TestNotedHeads(t *testing.T) {
	r := newRoom(t)
	r.record(4)
	noted, _ := r.verify()
	r.record(4)
	l, _ := r.open()
	if _, got := verifyOf(t, l, noted.Head); got != "" {
		t.Errorf("an honest log: %q", got)
	}
	// All of it is made anew, with the head file.
	r.forge(3, 4, 5, 6, 7, 8)
	list, err := l.List(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	r.setHead(Head{8, list[0].Hash}.String())
	if _, got := verifyOf(t, l); got != "" {
		t.Errorf("without a noted head nothing is to be seen, found %q", got)
	}
	if _, got := verifyOf(t, l, noted.Head); got != "replaced 4" {
		t.Errorf("found %q", got)
	}
	if _, got := verifyOf(t, l, Head{10, noted.Head.Hash}); got != "missing 9-10" {
		t.Errorf("found %q", got)
	}
}
