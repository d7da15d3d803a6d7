package usage

import (
	"encoding/binary"
	"hash/crc32"
)

// Bounds of a message, in bytes. Amazon's own libraries take headers of 128 KiB and
// payloads of 16 MiB or 24 MiB (smithy-go/aws-protocols, aws-c-event-stream); the
// headers Bedrock sends have about 100 bytes, and what is beyond maxHeaders is not
// looked at. The format: https://smithy.io/2.0/aws/amazon-eventstream.html
const (
	preludeSize = 12
	crcSize     = 4
	maxMessage  = 24<<20 + 128<<10 + preludeSize + crcSize
	maxHeaders  = 1 << 10
)

// messages reads Amazon's event stream: each message is a prelude (total length,
// headers' length, and a CRC of both), headers, a payload, and a CRC of all that.
type messages struct {
	stage stage
	left  int // bytes of the stage that have yet to come
	n     int // bytes in buf
	buf   [maxHeaders]byte
	sum   uint32 // CRC of the message so far
	body  int    // length of the payload
	event name   // what the headers say that the message is
	stop  bool   // the answer's end was said
	told  bool   // and its usage
}

type stage uint8

const (
	prelude stage = iota
	headers
	payload
	trailer
	lost // the messages' bounds are wrong; nothing after that can be read
)

// between reports whether no message is under way.
func (s *messages) between() bool { return s.stage == prelude && s.n == 0 }

func (s *messages) feed(m *Meter, p []byte) {
	for len(p) > 0 && s.stage != lost {
		if s.stage == prelude && s.n == 0 {
			s.left = preludeSize
		}
		n := min(s.left, len(p))
		s.take(m, p[:n])
		s.left -= n
		p = p[n:]
		for s.left == 0 && s.stage != lost && !s.between() {
			s.next(m)
		}
	}
}

func (s *messages) take(m *Meter, p []byte) {
	if s.stage != trailer {
		s.sum = crc32.Update(s.sum, crc32.IEEETable, p)
	}
	if s.stage == payload {
		s.payload(m, p)
		return
	}
	s.n += copy(s.buf[s.n:], p)
}

func (s *messages) payload(m *Meter, p []byte) {
	if m.kind == BedrockRaw {
		m.shell.feed(m, p)
	} else {
		m.doc.feed(m, p)
	}
}

// next goes on to the stage after one that is complete.
func (s *messages) next(m *Meter) {
	switch s.stage {
	case prelude:
		total, head := binary.BigEndian.Uint32(s.buf[:]), binary.BigEndian.Uint32(s.buf[4:])
		if crc32.ChecksumIEEE(s.buf[:8]) != binary.BigEndian.Uint32(s.buf[8:]) ||
			total > maxMessage || uint64(head)+preludeSize+crcSize > uint64(total) {
			s.stage = lost
			return
		}
		s.stage, s.left = headers, int(head)
		s.body = int(total) - int(head) - preludeSize - crcSize
	case headers:
		s.event = eventOf(s.buf[:s.n])
		s.stage, s.left = payload, s.body
		m.doc.reset()
		m.shell.reset()
	case payload:
		s.stage, s.left = trailer, crcSize
	case trailer:
		if binary.BigEndian.Uint32(s.buf[:]) != s.sum {
			s.stage = lost
			return
		}
		s.endMessage(m)
		s.stage, s.sum = prelude, 0
	}
	s.n = 0
}

func (s *messages) endMessage(m *Meter) {
	s.stop = s.stop || s.event == converseStop
	s.told = s.told || s.event == converseMetadata
	m.ended = m.ended || m.final || s.event == errorEvent || m.kind == Converse && s.stop && s.told
	m.failed = m.failed || s.event == errorEvent
	m.final = false
}

// eventOf is what a message's headers say that it is. A header is its name and a
// string, each behind its length; other types than strings end the search, as
// Bedrock sends none.
func eventOf(h []byte) name {
	var event name
	for len(h) > 0 {
		key, rest, ok := cutLength(h, 1)
		if !ok || len(rest) == 0 || rest[0] != 7 { // the type of strings
			return event
		}
		value, rest, ok := cutLength(rest[1:], 2)
		if !ok {
			return event
		}
		switch string(key) {
		case ":message-type":
			if string(value) != "event" {
				return errorEvent // an exception, or an error
			}
		case ":event-type":
			event = nameOf(value)
		}
		h = rest
	}
	return event
}

// cutLength cuts what comes behind a length of size bytes.
func cutLength(b []byte, size int) (value, rest []byte, ok bool) {
	if len(b) < size {
		return nil, nil, false
	}
	n := 0
	for _, c := range b[:size] {
		n = n<<8 | int(c)
	}
	b = b[size:]
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
