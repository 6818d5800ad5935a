package policy

// Resting is how many turns wait for a time of their own: a backoff, or what the
// other end asked for. They need no slot, so that others can be asked meanwhile.
func (s *Stage) Resting() int {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	return len(s.gate.resting.list)
}
