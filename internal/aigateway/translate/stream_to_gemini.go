package translate

import "fmt"

// geminiStream writes what Google's streamGenerateContent?alt=sse does: documents of
// the form of whole answers, the last of which has a finish reason
// (https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent).
// Function calls are whole there and keep their order.
type geminiStream struct {
	eventWriter
	lost   *answerLosses
	head   answerHead
	calls  []waitingBlock // that are not written yet
	held   int            // bytes in them
	signed bool           // a call was written
}

func (w *geminiStream) begin(h answerHead) error { w.head = h; return nil }

// ping writes nothing: older clients of Google's take a comment for an event.
func (w *geminiStream) ping() {}

func (w *geminiStream) text(t literal) error { return w.part(geminiAnswerPartOut{Text: t}) }
func (w *geminiStream) think(t literal) error {
	return w.part(geminiAnswerPartOut{Text: t, Thought: true})
}

func (w *geminiStream) part(p geminiAnswerPartOut) error {
	p.sign(&w.signed)
	return w.event("", w.document(p))
}

func (w *geminiStream) document(p geminiAnswerPartOut) geminiAnswerOut {
	return geminiAnswerOut{Candidates: []geminiAnswerCandidateOut{{Content: geminiAnswerContentOut{Parts: []geminiAnswerPartOut{p}, Role: "model"}}},
		Model: w.head.model, ID: w.head.id}
}

func (w *geminiStream) call(n int, id, name string) error {
	w.calls = append(w.calls, waitingBlock{kind: callBlock, n: n, id: id, name: name})
	return w.hold(len(id) + len(name) + perBlock)
}

func (w *geminiStream) hold(bytes int) error {
	if w.held += bytes; w.held > maxHeld {
		return errTooMuchHeld
	}
	return nil
}

func (w *geminiStream) find(n int) *waitingBlock {
	for i := range w.calls {
		if w.calls[i].n == n {
			return &w.calls[i]
		}
	}
	return nil
}

func (w *geminiStream) arguments(n int, t literal) error {
	b := w.find(n)
	if b == nil {
		return nil
	}
	b.text = b.text.join(t)
	return w.hold(len(t))
}

// endCall writes the calls that are whole and have none before them that is not.
func (w *geminiStream) endCall(n int) error {
	if b := w.find(n); b != nil {
		b.ended = true
	}
	for len(w.calls) > 0 && w.calls[0].ended && !w.calls[0].broken {
		written, err := w.write(&w.calls[0])
		if err != nil {
			return err
		}
		if !written {
			w.calls[0].broken = true // what that means, the end tells
			break
		}
		w.drop()
	}
	return nil
}

// write writes a call unless its arguments are no object, such as when they were cut.
func (w *geminiStream) write(b *waitingBlock) (written bool, err error) {
	object, err := callObject(b.text)
	if err != nil {
		return false, nil
	}
	return true, w.part(geminiAnswerPartOut{Call: &geminiAnswerCallOut{b.id, b.name, object}})
}

func (w *geminiStream) drop() {
	b := w.calls[0]
	w.held -= len(b.text) + len(b.id) + len(b.name) + perBlock
	w.calls = w.calls[1:]
}

func (w *geminiStream) end(e answerEnd) error {
	for len(w.calls) > 0 {
		b := &w.calls[0]
		written, err := w.write(b)
		if err != nil {
			return err
		}
		if !written {
			if e.stop != stopLength {
				return fmt.Errorf("the arguments of tool %.60q are not a JSON object", b.name)
			}
			w.lost.add("tool_call")
		}
		w.drop()
	}
	last := w.document(geminiAnswerPartOut{Text: literal(`""`)})
	last.Candidates[0].FinishReason = geminiStop(e.stop)
	last.Usage = geminiUsageOf(e.usage)
	return w.event("", last)
}
