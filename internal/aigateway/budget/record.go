package budget

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// The kinds of records, and their fields after number and kind. Money is in
// pico-dollars, a time in Unix milliseconds, a day as 20260131, and ref the number of
// the R that admitted the call. WHO is agent, team, provider, model and trigger.
const (
	recReserve = 'R' // time, day, most money, tokens, WHO, id: a call is admitted
	recSettle  = 'S' // ref, money, tokens: what it came to
	recUnknown = 'U' // ref, tokens: its price is not known
	recRelease = 'X' // ref: it did not take place
	recExpire  = 'E' // ref: it counts with its reservation
	recLate    = 'L' // number of its E, day, money, tokens, most money, tokens reserved, how it ended (S, U, X), WHO: the end of one that expired
	maxLine    = 8192
	crcDigits  = 8
	whoFields  = 5
	emptyField = "-"
)

// record is one change of the book. Which fields count depends on its kind.
type record struct {
	seq        uint64
	kind       byte
	ref        uint64
	at         int64
	day        int32
	money      price.Money
	tokens     int64
	most       price.Money // of recLate: what was reserved
	mostTokens int64
	how        byte // of recLate
	who        who
	id         string
}

// outcome is what the end of a call adds to what was spent.
func (r *record) outcome(p *pending) tally {
	switch r.kind {
	case recSettle:
		return tally{Money: r.money, Tokens: r.tokens, Calls: 1}
	case recUnknown:
		return tally{Tokens: r.tokens, Calls: 1, Unknown: 1}
	case recExpire:
		return tally{Money: p.most, Tokens: p.tokens, Calls: 1, Unsettled: 1, UnsettledMoney: p.most}
	}
	return tally{}
}

// late takes back what an expired call counted with, and counts its true end.
func (r *record) late() tally {
	t := tally{Money: -r.most, Tokens: -r.mostTokens, Calls: -1, Unsettled: -1, UnsettledMoney: -r.most}
	switch r.how {
	case recSettle:
		t.add(tally{Money: r.money, Tokens: r.tokens, Calls: 1})
	case recUnknown:
		t.add(tally{Tokens: r.tokens, Calls: 1, Unknown: 1})
	}
	return t
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// appendLine writes a record as a line of a journal: the CRC-32C of the rest of the
// line in eight hex digits, the number, the kind, the fields; single spaces between
// them. In a field, what would break it is %XX, and an empty one is a dash.
func (r *record) appendLine(b []byte) []byte {
	start := len(b)
	b = append(b, "00000000 "...)
	b = strconv.AppendUint(b, r.seq, 10)
	b = append(b, ' ', r.kind)
	switch r.kind {
	case recReserve:
		b = appendInts(b, r.at, int64(r.day), int64(r.money), r.tokens)
		b = appendWho(b, &r.who)
		b = appendField(b, r.id)
	case recSettle:
		b = appendInts(b, int64(r.ref), int64(r.money), r.tokens)
	case recUnknown:
		b = appendInts(b, int64(r.ref), r.tokens)
	case recRelease, recExpire:
		b = appendInts(b, int64(r.ref))
	case recLate:
		b = appendInts(b, int64(r.ref), int64(r.day), int64(r.money), r.tokens, int64(r.most), r.mostTokens)
		b = append(b, ' ', r.how)
		b = appendWho(b, &r.who)
	}
	putHex(b[start:], checksum(b[start+crcDigits+1:]))
	return append(b, '\n')
}

func putHex(b []byte, sum uint32) {
	const digits = "0123456789abcdef"
	for i := range crcDigits {
		b[i] = digits[sum>>(28-4*i)&15]
	}
}

func appendInts(b []byte, values ...int64) []byte {
	for _, v := range values {
		b = strconv.AppendInt(append(b, ' '), v, 10)
	}
	return b
}

func appendWho(b []byte, w *who) []byte {
	for _, s := range [whoFields]string{w.Agent, w.Team, w.Provider, w.Model, w.Trigger} {
		b = appendField(b, s)
	}
	return b
}

func appendField(b []byte, s string) []byte {
	b = append(b, ' ')
	if s == "" {
		return append(b, emptyField...)
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c == '%' || c == 0x7f || s == emptyField:
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

var errNoRecord = errors.New("it is not a record")

// parseLine reads what appendLine wrote, without the line break.
func parseLine(line []byte) (record, error) {
	if len(line) < crcDigits+2 || line[crcDigits] != ' ' {
		return record{}, errNoRecord
	}
	sum, err := strconv.ParseUint(string(line[:crcDigits]), 16, 32)
	if err != nil || uint32(sum) != checksum(line[crcDigits+1:]) {
		return record{}, errNoRecord
	}
	f := fields{rest: line[crcDigits+1:]}
	r := record{seq: f.number(), kind: f.letter()}
	switch r.kind {
	case recReserve:
		r.at, r.day, r.money, r.tokens = f.int(), f.day(), price.Money(f.amount()), f.amount()
		r.who, r.id = f.who(), f.text()
	case recSettle:
		r.ref, r.money, r.tokens = f.number(), price.Money(f.amount()), f.amount()
	case recUnknown:
		r.ref, r.tokens = f.number(), f.amount()
	case recRelease, recExpire:
		r.ref = f.number()
	case recLate:
		r.ref, r.day, r.money, r.tokens, r.most, r.mostTokens = f.number(), f.day(), price.Money(f.amount()), f.amount(), price.Money(f.amount()), f.amount()
		r.how, r.who = f.letter(), f.who()
		f.bad = f.bad || r.how != recSettle && r.how != recUnknown && r.how != recRelease
	default:
		f.bad = true
	}
	if f.bad || f.rest != nil {
		return record{}, errNoRecord
	}
	return r, nil
}

// fields takes a line apart; bad is set when one is not what it should be.
type fields struct {
	rest []byte // nil at the end
	bad  bool
}

func (f *fields) next() []byte {
	if f.rest == nil {
		f.bad = true
		return nil
	}
	field, rest, more := bytes.Cut(f.rest, []byte{' '})
	f.rest = rest
	if !more {
		f.rest = nil
	}
	return field
}

func (f *fields) int() int64 {
	v, err := strconv.ParseInt(string(f.next()), 10, 64)
	f.bad = f.bad || err != nil
	return v
}

func (f *fields) number() uint64 {
	v := f.int()
	f.bad = f.bad || v <= 0 || v >= math.MaxInt64/2
	return uint64(v)
}

func (f *fields) amount() int64 {
	v := f.int()
	f.bad = f.bad || v < 0 || v > maxCost
	return v
}

func (f *fields) day() int32 {
	v := f.int()
	f.bad = f.bad || v < 1_01_01 || v > 9999_12_31
	return int32(v)
}

func (f *fields) letter() byte {
	if s := f.next(); len(s) == 1 {
		return s[0]
	}
	f.bad = true
	return 0
}

func (f *fields) who() who {
	return who{f.text(), f.text(), f.text(), f.text(), f.text()}
}

func (f *fields) text() string {
	s := f.next()
	if string(s) == emptyField {
		return ""
	}
	if bytes.IndexByte(s, '%') < 0 {
		return string(s)
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) {
			f.bad = true
			return ""
		}
		v, err := strconv.ParseUint(string(s[i+1:i+3]), 16, 8)
		f.bad = f.bad || err != nil
		out = append(out, byte(v))
		i += 2
	}
	return string(out)
}
