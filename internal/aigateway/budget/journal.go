package budget

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	journalFirst = "journal-" // then the number of its first record, 20 digits
	damagedLast  = ".damaged"
	maxDamage    = 16 // places that are told of
)

// journal is the file that records are appended to.
type journal struct {
	dir  string
	name string
	file *os.File
	size int64 // of what is whole
	buf  []byte
}

func journalName(seq uint64) string { return fmt.Sprintf("%s%020d", journalFirst, seq) }

// start begins a new journal with a record's number and leaves the one before.
func (j *journal) start(dir string, seq uint64) error {
	name := journalName(seq)
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if j.file != nil {
		j.file.Close() // the ledger file that comes next holds what is in it
	}
	j.dir, j.name, j.file, j.size = dir, name, f, 0
	return nil
}

// append writes a record with one write. When that fails the next one is written
// over what is there of it.
func (j *journal) append(r *record) error {
	if j.file == nil {
		return errors.New("there is no journal")
	}
	j.buf = r.appendLine(j.buf[:0])
	n, err := j.file.WriteAt(j.buf, j.size)
	if err != nil {
		_ = j.file.Truncate(j.size) // what remains of it is cut off when it is read
		return err
	}
	j.size += int64(n)
	return nil
}

// close ends the file after bringing it to the disk.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.Sync(), j.file.Close())
	j.file = nil
	return err
}

// journals lists the journals in a directory, oldest first, and those put aside.
func journals(dir string) (names, damaged []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	for _, e := range entries { // sorted by name
		switch name := e.Name(); {
		case !strings.HasPrefix(name, journalFirst):
		case strings.Contains(name, damagedLast):
			damaged = append(damaged, name)
		case firstOf(name) > 0:
			names = append(names, name)
		}
	}
	return names, damaged, err
}

// firstOf is the number in a journal's name; 0 when it is none.
func firstOf(name string) uint64 {
	digits := strings.TrimPrefix(name, journalFirst)
	seq, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || len(digits) != 20 {
		return 0
	}
	return seq
}

// reading is how far a journal could be read.
type reading struct {
	next   uint64   // number of the record that would come next
	damage []string // in words, maxDamage at most
}

func (g *reading) damaged(format string, args ...any) {
	if len(g.damage) < maxDamage {
		g.damage = append(g.damage, fmt.Sprintf(format, args...))
	}
}

// read goes through a journal whose first record is number first. What is left of
// a line that was being written at its end is no damage; any other line that cannot
// be read, and any number that is missing, is. each gets every record that can be
// read, in rising order.
func read(in io.Reader, first uint64, each func(*record) error) (reading, error) {
	g := reading{next: first}
	lines := bufio.NewReaderSize(in, maxLine)
	for at := int64(0); ; {
		line, err := lines.ReadSlice('\n')
		begin := at
		at += int64(len(line))
		whole := err == nil
		for errors.Is(err, bufio.ErrBufferFull) { // longer than any record
			line, err = lines.ReadSlice('\n')
			at += int64(len(line))
			line = nil
			whole = err == nil
		}
		if err != nil && err != io.EOF {
			return g, err
		}
		if !whole {
			return g, nil
		}
		r, bad := parseLine(line[:max(0, len(line)-1)])
		switch {
		case bad != nil:
			g.damaged("a line at byte %d cannot be read", begin)
			continue
		case r.seq < g.next:
			g.damaged("record %d at byte %d is there twice", r.seq, begin)
			continue
		case r.seq > g.next:
			g.damaged("records %d to %d are missing before byte %d", g.next, r.seq-1, begin)
		}
		g.next = r.seq + 1
		if err := each(&r); err != nil {
			g.damaged("record %d at byte %d: %v", r.seq, begin, err)
		}
	}
}

// readJournals brings the book up to date from the journals that are there.
func (l *Ledger) readJournals() error {
	names, aside, err := journals(l.dir)
	if err != nil {
		return err
	}
	for _, name := range aside {
		l.damage = append(l.damage, name+" is kept from an earlier start; what could not be read of it is not counted. Remove it when you have looked at it")
	}
	for _, name := range names {
		if err := l.readJournal(name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) readJournal(name string) error {
	f, err := os.Open(filepath.Join(l.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	first := firstOf(name)
	var damage []string
	if first > l.book.seq {
		damage = append(damage, fmt.Sprintf("records %d to %d are missing before it", l.book.seq, first-1))
	}
	g, err := read(f, first, func(r *record) error {
		if r.seq < l.book.seq {
			return nil // the ledger file has it
		}
		return l.book.apply(r)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	l.book.startAt(g.next)
	if damage = append(damage, g.damage...); len(damage) > 0 {
		l.spoiled = append(l.spoiled, name)
		for _, d := range damage {
			l.damage = append(l.damage, name+": "+d)
		}
	}
	return nil
}

// clear removes journals older than a record's number, as the ledger file has
// what is in them. Those with damage are put aside.
func (l *Ledger) clear(before uint64, spoiled []string) error {
	names, _, err := journals(l.dir)
	for _, name := range names {
		path := filepath.Join(l.dir, name)
		switch {
		case firstOf(name) >= before:
		case slices.Contains(spoiled, name):
			err = errors.Join(err, putAside(path))
		default:
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// putAside renames a damaged journal, over none that was put aside before.
func putAside(path string) error {
	for i := range 1000 {
		to := path + damagedLast
		if i > 0 {
			to += "-" + strconv.Itoa(i)
		}
		if err := os.Link(path, to); err == nil {
			return os.Remove(path)
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return errors.New("too many damaged journals")
}
