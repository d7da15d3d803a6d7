package link

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestVersionsSettleOnTheHighestCommon(t *testing.T) {
	for _, c := range []struct {
		ours, theirs Versions
		want         uint16
		ok           bool
	}{
		{Versions{1, 1}, Versions{1, 1}, 1, true},
		{Versions{1, 3}, Versions{2, 5}, 3, true},
		{Versions{2, 5}, Versions{1, 3}, 3, true},
		{Versions{1, 1}, Versions{2, 3}, 0, false},
		{Versions{2, 3}, Versions{1, 1}, 0, false},
		{Versions{1, 5}, Versions{4, 2}, 0, false}, // a range upside down
	} {
		got, ok := c.ours.settle(c.theirs)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%v and %v settled on %d, %v; want %d, %v", c.ours, c.theirs, got, ok, c.want, c.ok)
		}
	}
}

func TestHandshakeRoundTrip(t *testing.T) {
	h := hello{Versions{1, 7}, SessionID{1, 2, 3}, 1 << 40}
	if got, err := readHello(bytes.NewReader(h.encode())); err != nil || got != h {
		t.Errorf("hello came back as %+v, %v", got, err)
	}
	a := answer{verdict: refused, version: 3, session: SessionID{9}, received: 77, message: "no"}
	if got, err := readAnswer(bytes.NewReader(a.encode())); err != nil || got != a {
		t.Errorf("answer came back as %+v, %v", got, err)
	}
	a.message = strings.Repeat("x", 5000)
	if got, err := readAnswer(bytes.NewReader(a.encode())); err != nil || len(got.message) != maxMessage {
		t.Errorf("long message came back with %d bytes, %v", len(got.message), err)
	}
}

func TestFrameTooLong(t *testing.T) {
	if _, err := parseFrame(frame{length: MaxPayload}.append(nil)); err != nil {
		t.Error(err)
	}
	if _, err := parseFrame(frame{length: MaxPayload + 1}.append(nil)); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add(hello{Versions{1, 1}, SessionID{}, 0}.encode())
	f.Add(answer{verdict: fresh, version: 1, message: "hello"}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := readHello(bytes.NewReader(b)); err == nil && !bytes.Equal(h.encode(), b[:helloSize]) {
			t.Errorf("hello %x came back as %x", b, h.encode())
		}
		if a, err := readAnswer(bytes.NewReader(b)); err == nil && !bytes.Equal(a.encode(), b[:answerSize+len(a.message)]) {
			t.Errorf("answer %x came back as %x", b, a.encode())
		}
	})
}

func TestReplayKeepsTheTail(t *testing.T) {
	var r replay
	var all []byte
	for i := range 3000 {
		p := bytes.Repeat([]byte{byte(i)}, i%700)
		if len(p) > r.room() {
			r.release(r.start + uint64(r.size)/2)
		}
		r.append(p)
		all = append(all, p...)
		tail := make([]byte, r.size)
		r.copyAt(tail, r.start)
		if !bytes.Equal(tail, all[r.start:]) {
			t.Fatalf("after %d appends the tail differs", i)
		}
		if i%5 == 0 {
			r.release(r.start + uint64(r.size)/3)
		}
	}
	r.release(r.end())
	if r.size != 0 || len(r.ring) > keepRing {
		t.Errorf("empty, it keeps %d bytes in a ring of %d", r.size, len(r.ring))
	}
}
