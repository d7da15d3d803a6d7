package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/moltworker/moltworker/internal/store"
)

// The kinds of problems.
const (
	Altered  = "altered"  // the entry is not the one that has this hash
	Missing  = "missing"  // entries from Seq to Through are not there
	Moved    = "moved"    // the entry was recorded with another number
	Replaced = "replaced" // the entry is not the one that the next one follows, or that is named elsewhere
	Inserted = "inserted" // the entry has a number that no entry gets
	Headless = "headless" // no head file, so a cut at the end would not be found
	Reported = "reported" // the log itself says that it was found broken before this entry
)

// A Problem is one way in which the log is not what was recorded.
type Problem struct {
	Seq     int64  `json:"seq"`
	Through int64  `json:"through,omitempty"` // Missing: the last one
	Kind    string `json:"kind"`
	Detail  string `json:"detail"`
}

func (p Problem) String() string {
	where := fmt.Sprintf("entry %d", p.Seq)
	if p.Through > p.Seq {
		where = fmt.Sprintf("entries %d to %d", p.Seq, p.Through)
	}
	return fmt.Sprintf("%s %s: %s", where, p.Kind, p.Detail)
}

// maxProblems bounds the problems that a report tells one by one.
const maxProblems = 100

// Report is what a check of the whole log came to.
type Report struct {
	OK      bool  `json:"ok"` // there are no problems
	Entries int64 `json:"entries"`
	// Head names the last entry. Who notes it elsewhere can show later that
	// nothing up to it was changed.
	Head Head `json:"head"`
	// Noted are the heads that the log was checked against beside its own.
	Noted []Head `json:"noted,omitempty"`
	// Unanchored counts entries behind the one that the head file names: after a
	// crash there may be one, or one for each of those who recorded at once.
	Unanchored int64     `json:"unanchored"`
	Problems   []Problem `json:"problems"` // in order, at most 100
	More       int64     `json:"more,omitempty"`
}

// page is how many entries are read at a time.
const page = 200

// Verify checks every entry, and that the log ends where the head file and this
// process know it to, and that it still has the entries that noted names. A
// broken log is no error. Entries that are recorded meanwhile may be left out.
func (l *Log) Verify(ctx context.Context, noted ...Head) (Report, error) {
	c := newChecker(noted)
	// What is expected is read before the entries: it must not be newer.
	if known, isKnown := l.memory(); isKnown {
		c.expect(known, "what this process recorded")
	}
	named, headErr := readHead(l.file)
	if headErr != nil && !errors.Is(headErr, errNoHead) {
		return Report{}, headErr
	}
	if headErr == nil {
		c.expect(named, "the head file")
	}
	err := l.each(ctx, func(r store.AuditRow) error {
		c.check(r.Seq, r.Entry, r.Hash)
		if e, err := decode(r.Entry); err == nil && c.sound && c.last.Seq == r.Seq && !found(r, e) {
			c.problem(Problem{Seq: r.Seq, Kind: Altered, Detail: "a search finds it by other words than its own"})
		}
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	if headErr != nil && c.report.Entries > 0 {
		c.problem(Problem{Seq: c.last.Seq, Kind: Headless, Detail: headErr.Error()})
	}
	report := c.finish()
	if headErr == nil {
		report.Unanchored = max(0, report.Head.Seq-named.Seq)
	}
	return report, nil
}

// each calls f with the rows that there are now, in order.
func (l *Log) each(ctx context.Context, f func(store.AuditRow) error) error {
	last, err := l.db.AuditLast(ctx)
	if err != nil {
		return err
	}
	for from := int64(math.MinInt64); from <= last; {
		rows, err := l.db.AuditFrom(ctx, from, page)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			if r.Seq > last {
				return nil
			}
			if err := f(r); err != nil {
				return err
			}
			from = r.Seq
		}
		if from == math.MaxInt64 {
			return nil
		}
		from++
	}
	return nil
}

// checker sees entries in order.
type checker struct {
	report  Report
	expects []expectation
	last    Head // what was last seen
	sound   bool // and that nothing was wrong with it
}

type expectation struct {
	head Head
	who  string // names it
	met  bool
}

func newChecker(noted []Head) *checker {
	c := &checker{report: Report{Noted: noted, Problems: []Problem{}}, sound: true}
	for _, h := range noted {
		c.expect(h, "what was noted")
	}
	return c
}

// expect has the log have an entry that somebody names.
func (c *checker) expect(h Head, who string) {
	if h.Seq > 0 {
		c.expects = append(c.expects, expectation{head: h, who: who})
	}
}

func (c *checker) problem(p Problem) {
	if len(c.report.Problems) == maxProblems {
		c.report.More++
		return
	}
	c.report.Problems = append(c.report.Problems, p)
}

// check sees the next entry: its number, its bytes and its hash as they are kept.
func (c *checker) check(seq int64, body, kept []byte) {
	c.report.Entries++
	if seq <= c.last.Seq || seq < 1 {
		c.problem(Problem{Seq: seq, Kind: Inserted, Detail: fmt.Sprintf("it stands behind entry %d", c.last.Seq)})
		return
	}
	gap := seq > c.last.Seq+1
	if gap {
		c.problem(Problem{Seq: c.last.Seq + 1, Through: seq - 1, Kind: Missing, Detail: fmt.Sprintf("the next entry there is is %d", seq)})
	}
	before, follows := c.last, c.sound && !gap
	c.last, c.sound = Head{seq, hex.EncodeToString(kept)}, false
	e, err := decode(body)
	switch {
	case !sum(body).is(kept):
		c.problem(Problem{Seq: seq, Kind: Altered, Detail: "its hash is another than the one that was recorded"})
	case err != nil:
		c.problem(Problem{Seq: seq, Kind: Altered, Detail: err.Error()})
	case e.Seq != seq:
		c.problem(Problem{Seq: seq, Kind: Moved, Detail: fmt.Sprintf("it was recorded as entry %d", e.Seq)})
	default:
		c.sound = true
		if follows && e.Prev != before.hash() {
			c.broken(before, e)
		}
	}
	for i, x := range c.expects {
		if x.head.Seq != seq {
			continue
		}
		c.expects[i].met = true
		if c.sound && x.head != c.last {
			c.problem(Problem{Seq: seq, Kind: Replaced, Detail: fmt.Sprintf("%s gives it the hash %s, here it has %s", x.who, x.head.Hash, c.last.Hash)})
		}
	}
	if c.sound && e.Action == Broken {
		c.problem(Problem{Seq: seq, Kind: Reported, Detail: e.Detail})
	}
}

// broken tells that e does not follow the entry before. Which of the two is not
// the one that was recorded cannot be told from them; those behind vouch for e.
func (c *checker) broken(before Head, e Entry) {
	if before.Seq == 0 {
		c.problem(Problem{Seq: e.Seq, Kind: Replaced, Detail: "as the first entry it must name no hash before it"})
		return
	}
	c.problem(Problem{Seq: before.Seq, Kind: Replaced, Detail: fmt.Sprintf("entry %d follows one with hash %s, here it has %s", e.Seq, e.Prev, before.hash())})
}

// finish tells what was expected and is not there.
func (c *checker) finish() Report {
	var cut *expectation
	for i, x := range c.expects {
		if !x.met && x.head.Seq > c.last.Seq && (cut == nil || x.head.Seq > cut.head.Seq) {
			cut = &c.expects[i]
		}
	}
	if cut != nil {
		c.problem(Problem{Seq: c.last.Seq + 1, Through: cut.head.Seq, Kind: Missing,
			Detail: fmt.Sprintf("the log ends with entry %d, and %s names entry %d", c.last.Seq, cut.who, cut.head.Seq)})
	}
	c.report.Head = c.last
	c.report.OK = len(c.report.Problems) == 0
	return c.report
}

// exported is a line of an export, up to the entry.
const (
	exported      = `{"hash":"`
	exportedEntry = `","entry":`
	exportedStart = len(exported) + 64 + len(exportedEntry)
)

// Export writes every entry that there is now, as one line each that proves
// itself; see the package comment. Entries that are not what was recorded are
// written as {"seq":N,"hash":"HASH","damaged":"their bytes in base64"}.
func (l *Log) Export(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	err := l.each(ctx, func(r store.AuditRow) error {
		e, err := decode(r.Entry)
		if err != nil || e.Seq != r.Seq || !sum(r.Entry).is(r.Hash) {
			line, err := json.Marshal(damagedLine{r.Seq, hex.EncodeToString(r.Hash), r.Entry})
			if err != nil {
				return err
			}
			_, err = out.Write(append(line, '\n'))
			return err
		}
		_, err = fmt.Fprintf(out, "%s%x%s%s}\n", exported, r.Hash, exportedEntry, r.Entry)
		return err
	})
	if err := errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("export the audit log: %w", err)
	}
	return nil
}

type damagedLine struct {
	Seq     int64  `json:"seq"`
	Hash    string `json:"hash"`
	Damaged []byte `json:"damaged"`
}

// VerifyExport checks what Export wrote, and that it has the entries that noted
// names: whether something was cut from its end can be told by those only.
// Its error says that r could not be read or is no export at all.
func VerifyExport(r io.Reader, noted ...Head) (Report, error) {
	c := newChecker(noted)
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 2*maxEntry)
	for n := 1; lines.Scan(); n++ {
		seq, body, kept, err := parseLine(lines.Bytes())
		if err != nil {
			return Report{}, fmt.Errorf("line %d is not of an exported audit log: %w", n, err)
		}
		c.check(seq, body, kept)
	}
	if err := lines.Err(); err != nil {
		return Report{}, fmt.Errorf("read an exported audit log: %w", err)
	}
	return c.finish(), nil
}

// parseLine reads one line of an export.
func parseLine(line []byte) (seq int64, body, kept []byte, err error) {
	if rest, ok := bytes.CutPrefix(line, []byte(exported)); ok && len(line) > exportedStart && bytes.HasPrefix(rest[64:], []byte(exportedEntry)) {
		body, ok = bytes.CutSuffix(line[exportedStart:], []byte("}"))
		kept, err = hex.DecodeString(string(rest[:64]))
		if !ok || err != nil {
			return 0, nil, nil, errDamaged
		}
		var number struct{ Seq int64 }
		if err := json.Unmarshal(body, &number); err != nil {
			return 0, nil, nil, fmt.Errorf("%w: %v", errDamaged, err)
		}
		return number.Seq, body, kept, nil
	}
	var d damagedLine
	if err := json.Unmarshal(line, &d); err != nil {
		return 0, nil, nil, fmt.Errorf("%w: %v", errDamaged, err)
	}
	if kept, err = hex.DecodeString(d.Hash); err != nil || d.Damaged == nil {
		return 0, nil, nil, errDamaged
	}
	return d.Seq, d.Damaged, kept, nil
}
