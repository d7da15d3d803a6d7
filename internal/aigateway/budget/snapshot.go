package budget

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	ledgerFile    = "ledger"
	maxLedgerFile = 1 << 30 // bytes
	fileFormat    = 1
)

// snapshot is the ledger file: the CRC-32C of what follows in eight hex digits, a
// line break, and this as JSON.
type snapshot struct {
	Format int                   `json:"format"`
	Seq    uint64                `json:"seq"` // of the first record that is not in it
	Months []savedMonth          `json:"months"`
	Flight []savedCall           `json:"in_flight"`
	Totals map[string]savedTotal `json:"totals"` // by rule
}

type savedMonth struct {
	Month  int32      `json:"month"` // 202601
	Folded bool       `json:"folded,omitempty"`
	Rows   []savedRow `json:"rows"`
}

type savedRow struct {
	Day int32 `json:"day,omitempty"`
	savedWho
	tally
}

type savedWho struct {
	Agent    string `json:"agent,omitempty"`
	Team     string `json:"team,omitempty"`
	Provider string `json:"provider,omitempty"`
	Model    string `json:"model,omitempty"`
	Trigger  string `json:"trigger,omitempty"`
}

type savedCall struct {
	Ref uint64 `json:"ref"`
	ID  string `json:"id,omitempty"`
	savedWho
	At     int64       `json:"at"`
	Day    int32       `json:"day"`
	Most   price.Money `json:"most"`
	Tokens int64       `json:"tokens"`
}

// snapshot copies the book.
func (b *book) snapshot() *snapshot {
	s := &snapshot{Format: fileFormat, Seq: b.seq, Totals: map[string]savedTotal{}}
	for month, sh := range b.months {
		m := savedMonth{Month: month, Folded: sh.folded, Rows: make([]savedRow, 0, len(sh.rows))}
		for k, t := range sh.rows {
			m.Rows = append(m.Rows, savedRow{k.day, savedWho(k.who), *t})
		}
		s.Months = append(s.Months, m)
	}
	for p := b.first; p != nil; p = p.next {
		s.Flight = append(s.Flight, savedCall{p.ref, p.id, savedWho(p.who), p.at, p.day, p.most, p.tokens})
	}
	for _, a := range b.accounts {
		if a.Period != Total {
			continue
		}
		saved := savedTotal{From: a.from, Each: a.Each, Counts: map[string]tally{}}
		for k, c := range a.counters {
			saved.Counts[k.agent] = c.tally
		}
		s.Totals[a.ID] = saved
	}
	return s
}

// restore fills an empty book.
func (b *book) restore(s *snapshot) error {
	if s.Seq == 0 || s.Seq >= maxCost {
		return errors.New("it has no number")
	}
	b.seq, b.totals = s.Seq, s.Totals
	for _, m := range s.Months {
		sh := &sheet{rows: map[rowKey]*tally{}, count: map[agentDay]int{}, folded: m.Folded}
		for _, r := range m.Rows {
			t := r.tally
			sh.rows[rowKey{r.Day, who(r.savedWho)}] = &t
			sh.count[agentDay{r.Day, r.Agent}]++
		}
		b.months[m.Month] = sh
	}
	for _, c := range s.Flight {
		b.link(&pending{ref: c.Ref, id: c.ID, who: who(c.savedWho), at: c.At, day: c.Day, most: bounded(c.Most), tokens: bounded(c.Tokens)})
	}
	return nil
}

func (s *snapshot) encode() ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	out := make([]byte, crcDigits, crcDigits+1+len(body))
	putHex(out, checksum(body))
	return append(append(out, '\n'), body...), nil
}

func decodeSnapshot(data []byte) (*snapshot, error) {
	head, body, ok := bytes.Cut(data, []byte{'\n'})
	if !ok || len(head) != crcDigits {
		return nil, errors.New("it is not a ledger")
	}
	sum, err := strconv.ParseUint(string(head), 16, 32)
	if err != nil || uint32(sum) != checksum(body) {
		return nil, errors.New("its checksum is wrong")
	}
	var s snapshot
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, err
	}
	if s.Format != fileFormat {
		return nil, fmt.Errorf("its format %d is not known", s.Format)
	}
	return &s, nil
}

// load fills the book from the ledger file and the journals.
func (l *Ledger) load() error {
	data, err := readBounded(filepath.Join(l.dir, ledgerFile), maxLedgerFile)
	if err == nil {
		var s *snapshot
		if s, err = decodeSnapshot(data); err == nil {
			err = l.book.restore(s)
		}
		if err != nil {
			return remedy.With(fmt.Errorf("what was spent is not known: the file %s is damaged: %w", ledgerFile, err),
				"restore the file from a backup, or move it away to count from nothing")
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.book.setAccounts(l.settings.accounts(l.zone))
	l.book.totals = nil
	if err := l.readJournals(); err != nil {
		return err
	}
	l.book.startAt(l.settings.newestFrom())
	return nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(path), most)
	}
	return data, err
}

// fold begins a new journal when the present one is large, and writes the ledger
// file meanwhile. Called with mu held.
func (l *Ledger) fold() {
	if l.out.size < l.foldAt || l.writing || l.behind || l.closed {
		return
	}
	if err := l.out.start(l.dir, l.book.seq); err != nil {
		l.failing = err // the present one still takes records
		return
	}
	s := l.book.snapshot()
	l.writing = true
	l.running.Go(func() {
		err := l.writeLedger(s, nil)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.writing = false
		if err != nil {
			l.failing = err // the older journals are there still
		}
	})
}

func (l *Ledger) writeLedger(s *snapshot, spoiled []string) error {
	data, err := s.encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(l.dir, ledgerFile), data, 0o600); err != nil {
		return err
	}
	return l.clear(s.Seq, spoiled)
}

// mend writes the ledger anew when memory knows more than the disk, at most once a
// second. Called with mu held.
func (l *Ledger) mend() {
	now := l.now()
	since := now.Sub(l.mended)
	if !l.behind || l.writing || !l.mended.IsZero() && since >= 0 && since < mendEvery {
		return
	}
	l.mended = now
	if err := l.rewrite(); err != nil {
		l.failing = err
		return
	}
	l.behind, l.failing, l.spoiled = false, nil, nil
}

func (l *Ledger) rewrite() error {
	// A journal that begins with the number that comes next has no record, or what
	// memory did not take of it; the number is skipped so that its name is free.
	l.book.seq++
	if err := l.writeLedger(l.book.snapshot(), l.spoiled); err != nil {
		return err
	}
	return l.out.start(l.dir, l.book.seq)
}
