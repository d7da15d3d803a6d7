package proto

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMessageRoundTrip(t *testing.T) {
	want := Request{Op: OpExec, Exec: &Exec{Args: []string{"ls"}, Timeout: Duration(90 * time.Second)}}
	var b bytes.Buffer
	if err := WriteMessage(&b, want); err != nil {
		t.Fatal(err)
	}
	b.WriteString("after")
	var got Request
	if err := ReadMessage(&b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if b.String() != "after" {
		t.Errorf("read beyond the message: %q is left", b.String())
	}
}

func TestMessagesThatLie(t *testing.T) {
	var v Response
	if err := ReadMessage(strings.NewReader("\xff\xff\xff\xff"), &v); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too long: %v", err)
	}
	if err := ReadMessageLimit(strings.NewReader("\x00\x00\x00\x05hello"), &v, 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	if err := ReadMessage(strings.NewReader("\x00\x1f\xff\xff{"), &v); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut short: %v", err)
	}
	if err := ReadMessage(strings.NewReader("\x00\x00\x00\x03abc"), &v); err == nil {
		t.Error("took abc for a response")
	}
}

func TestSameProcess(t *testing.T) {
	a := &Process{Args: []string{"a", "b"}}
	if a.Same(Process{Args: []string{"a b"}}) || !a.Same(Process{Args: []string{"a", "b"}}) || (*Process)(nil).Same(*a) {
		t.Error("processes are not told apart")
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0d{\"op\":\"read\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		if ReadMessage(bytes.NewReader(b), &r) == nil {
			WriteMessage(io.Discard, r)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0, 2, 'h', 'i'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, buf := bytes.NewReader(b), make([]byte, MaxFrame)
		var back bytes.Buffer
		for {
			kind, payload, err := ReadFrame(r, buf)
			if err != nil {
				break
			}
			if err := WriteFrame(&back, kind, payload); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(b, back.Bytes()) {
			t.Errorf("%x came back as %x", b, back.Bytes())
		}
	})
}
