package realtime

import "sync"

// maxKept is the size of the largest buffer that is kept for another message, in
// bytes.
const maxKept = 4 << 20

var messagePool = sync.Pool{New: func() any { return new([]byte) }}

// collector puts messages together from the payloads of their frames. It holds a
// buffer only while there is a message.
type collector struct {
	most   int  // bytes of a message; 0: none are wanted
	binary bool // binary messages are wanted too
	unseen int64

	wanted bool // the current message is collected
	buf    *[]byte
	start  int   // of the current message in buf, behind complete ones
	ends   []int // of the complete ones
}

// begin begins a frame of data. It returns false when that makes its message too long
// to be collected.
func (c *collector) begin(h head) bool {
	if h.op != opContinuation {
		c.wanted = c.most > 0 && (h.op == opText || c.binary)
		if c.wanted && c.buf == nil {
			c.buf, c.start = messagePool.Get().(*[]byte), 0
		}
	}
	if c.wanted && h.length > int64(c.most-(len(*c.buf)-c.start)) {
		c.wanted = false
		c.unseen++
		if *c.buf = (*c.buf)[:c.start]; c.start == 0 {
			c.drop()
		}
		return false
	}
	return true
}

// add adds a piece of payload, pos bytes into its frame.
func (c *collector) add(p []byte, h head, pos int64) {
	if !c.wanted {
		return
	}
	n := len(*c.buf)
	*c.buf = append(*c.buf, p...)
	if h.mask != [4]byte{} {
		unmask((*c.buf)[n:], h.mask, pos)
	}
}

// end ends a message and reports whether it was collected.
func (c *collector) end() bool {
	if !c.wanted {
		return false
	}
	c.wanted = false
	c.start = len(*c.buf)
	c.ends = append(c.ends, c.start)
	return true
}

// deliver hands the complete messages over, in order, until one is refused, and
// forgets them.
func (c *collector) deliver(to func([]byte) error) error {
	from := 0
	for _, end := range c.ends {
		if err := to((*c.buf)[from:end:end]); err != nil {
			return err
		}
		from = end
	}
	c.ends = c.ends[:0]
	if !c.wanted {
		c.drop()
	} else if from > 0 {
		*c.buf = append((*c.buf)[:0], (*c.buf)[from:]...)
		c.start = 0
	}
	return nil
}

// drop forgets all that was collected.
func (c *collector) drop() {
	if c.buf != nil && cap(*c.buf) <= maxKept {
		*c.buf = (*c.buf)[:0]
		messagePool.Put(c.buf)
	}
	c.buf, c.ends, c.wanted = nil, c.ends[:0], false
}
