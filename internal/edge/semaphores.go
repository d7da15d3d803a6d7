package edge

import "sync"

// semaphores bounds how many of something each agent has at once.
type semaphores struct {
	size int

	mu   sync.Mutex // guards used
	used map[string]int
}

// acquire takes a place for the agent. release gives it back; it must be called
// exactly once when ok.
func (s *semaphores) acquire(agent string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		s.used = map[string]int{}
	}
	if s.used[agent] >= s.size {
		return nil, false
	}
	s.used[agent]++
	return func() { s.release(agent) }, true
}

func (s *semaphores) release(agent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[agent]--; s.used[agent] == 0 {
		delete(s.used, agent)
	}
}
