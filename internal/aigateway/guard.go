package aigateway

import (
	"bytes"
	"errors"
)

// A key shorter than minGuarded is too likely to occur in an honest answer
// ("ollama") to end the call for it.
const minGuarded = 16

var errKeyEcho = errors.New("the answer contains the API key")

// keyGuard sees to it that an answer never carries a key to the guest. It holds back
// only bytes at the end of a piece that may be a key's beginning.
type keyGuard struct {
	keys [][]byte // what is looked for
	held []byte
}

func newKeyGuard(keys ...string) keyGuard {
	var g keyGuard
	for _, key := range keys {
		if len(key) >= minGuarded {
			g.keys = append(g.keys, []byte(key[:min(len(key), 32)])) // 32 bytes tell; longer needles are slow
		}
	}
	return g
}

// pass returns what may go on now.
func (g *keyGuard) pass(p []byte) ([]byte, error) {
	if g.keys == nil {
		return p, nil
	}
	if len(g.held) > 0 {
		p = append(g.held, p...)
		g.held = nil
	}
	keep := 0
	for _, key := range g.keys {
		if bytes.Contains(p, key) {
			return nil, errKeyEcho
		}
		keep = max(keep, keyStart(p, key))
	}
	if keep > 0 {
		g.held = bytes.Clone(p[len(p)-keep:])
		p = p[:len(p)-keep]
	}
	return p, nil
}

// rest is what was held back and turned out not to be a key.
func (g *keyGuard) rest() []byte { return g.held }

// keyStart is the length of the longest end of p that key begins with.
func keyStart(p, key []byte) int {
	tail := p[max(0, len(p)-len(key)+1):]
	for {
		i := bytes.IndexByte(tail, key[0])
		if i < 0 {
			return 0
		}
		if tail = tail[i:]; bytes.HasPrefix(key, tail) {
			return len(tail)
		}
		tail = tail[1:]
	}
}

// scrub takes keys out of an error body.
func scrub(p []byte, keys []string) []byte {
	for _, key := range keys {
		if key != "" {
			p = bytes.ReplaceAll(p, []byte(key), []byte("[key removed]"))
		}
	}
	return p
}
