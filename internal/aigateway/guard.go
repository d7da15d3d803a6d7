package aigateway

import (
	"bytes"
	"errors"
)

// A key shorter than minGuarded is too likely to occur in an honest answer
// ("ollama") to end the call for it.
const minGuarded = 16

var errKeyEcho = errors.New("the answer contains the API key")

// keyGuard sees to it that an answer never carries the key to the guest. It
// holds back only bytes at the end of a piece that may be the key's beginning.
type keyGuard struct {
	key  []byte // what is looked for; nil: nothing
	held []byte
}

func newKeyGuard(key string) keyGuard {
	if len(key) < minGuarded {
		return keyGuard{}
	}
	return keyGuard{key: []byte(key[:min(len(key), 32)])} // 32 bytes tell; longer needles are slow
}

// pass returns what may go on now.
func (g *keyGuard) pass(p []byte) ([]byte, error) {
	if g.key == nil {
		return p, nil
	}
	if len(g.held) > 0 {
		p = append(g.held, p...)
		g.held = nil
	}
	if bytes.Contains(p, g.key) {
		return nil, errKeyEcho
	}
	if n := keyStart(p, g.key); n > 0 {
		g.held = bytes.Clone(p[len(p)-n:])
		p = p[:len(p)-n]
	}
	return p, nil
}

// rest is what was held back and turned out not to be the key.
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

// scrub takes the key out of an error body.
func scrub(p []byte, key string) []byte {
	if key == "" {
		return p
	}
	return bytes.ReplaceAll(p, []byte(key), []byte("[key removed]"))
}
