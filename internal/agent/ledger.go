package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/atomicfile"
)

// ledger is what the keeper must know of an agent after a crash: written before
// it acts, and only by it.
type ledger struct {
	path string

	mu sync.Mutex // guards what follows
	p  page
}

type page struct {
	// Asleep is what is wanted.
	Asleep bool `json:"asleep"`
	// Generation grows by one with every sandbox that is started or restored on
	// the home: an image of an older one does not fit the home any more.
	Generation uint64 `json:"generation"`
	// WakeTook is how long a wake takes, on average, the newest counting most.
	WakeTook time.Duration `json:"wake_took_ns"`
	// Next is what the agent is to be woken for.
	Next *Due `json:"next,omitempty"`
	// Promise is the name under which the gateway was asked to begin nothing, and
	// not yet to go on.
	Promise string `json:"promise,omitempty"`
}

// maxLedger bounds the file, in bytes.
const maxLedger = 64 << 10

// openLedger reads an agent's ledger. The one it returns beside an error is a new
// agent's: an image is of no use then, the agent boots.
func openLedger(dir string) (*ledger, error) {
	b := &ledger{path: filepath.Join(dir, "life.json")}
	if info, err := os.Stat(b.path); err == nil && info.Size() > maxLedger {
		return b, fmt.Errorf("%s is too large to be what it should be", b.path)
	}
	data, err := readOptional(b.path)
	if err != nil || data == nil {
		return b, err
	}
	var p page
	if err := json.Unmarshal(data, &p); err != nil {
		return b, fmt.Errorf("%s is damaged: %w", b.path, err)
	}
	b.p = p
	return b, nil
}

func (b *ledger) read() page {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.p
}

// write changes the ledger, on disk first.
func (b *ledger) write(change func(*page)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.p
	change(&next)
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode what the agent is about: %w", err)
	}
	if err := atomicfile.Write(b.path, data, 0o600); err != nil {
		return fmt.Errorf("note what the agent is about: %w", err)
	}
	b.p = next
	return nil
}

// advance notes that a sandbox is about to run: it begins a new generation of the
// home.
func (b *ledger) advance() error {
	return b.write(func(p *page) { p.Asleep, p.Next, p.Generation = false, nil, p.Generation+1 })
}

// settled notes that the gateway was told to go on, and how long the wake took, if
// it was one.
func (b *ledger) settled(wake time.Duration) error {
	return b.write(func(p *page) {
		p.Promise = ""
		switch {
		case wake == 0:
		case p.WakeTook == 0:
			p.WakeTook = wake
		default:
			p.WakeTook = (7*p.WakeTook + 3*wake) / 10
		}
	})
}
