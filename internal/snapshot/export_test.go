package snapshot

// Borrower makes a snapshot that holds nothing but what it borrows from pool,
// under each of the keys, with the first loan on it.
func Borrower(pool *Pool, keys []string, build func(key string) Resource) *Snapshot {
	s := &Snapshot{loans: loans{pool: pool, held: map[string]*poolEntry{}}}
	s.borrowers.Store(1)
	for _, key := range keys {
		borrow(&s.loans, key, func() Resource { return build(key) })
	}
	return s
}

// Held returns how many resources the pool holds.
func (p *Pool) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.entries)
}

// Spoofable returns the strip set.
func Spoofable() []string { return spoofable }

// Borrow counts one more borrower, unless the last one has gone.
func (s *Snapshot) Borrow() bool { return s.borrow() }
