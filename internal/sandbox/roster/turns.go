package roster

import "sync"

// turns holds a lock for each ID it was asked for. The zero value is ready.
type turns struct {
	mu   sync.Mutex
	byID map[string]*sync.Mutex // never removed: IDs are few
}

// take waits for its turn with id and gives the function that ends it.
func (t *turns) take(id string) (end func()) {
	t.mu.Lock()
	if t.byID == nil {
		t.byID = map[string]*sync.Mutex{}
	}
	m := t.byID[id]
	if m == nil {
		m = new(sync.Mutex)
		t.byID[id] = m
	}
	t.mu.Unlock()
	m.Lock()
	return m.Unlock
}
