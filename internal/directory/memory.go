package directory

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/store"
)

// Memory holds the store's consumers, keys and revocations of tokens. Load fills it, Run keeps it in
// step with the store. It outlives configurations. Safe for concurrent use;
// who looks something up waits for nobody, but for a key that is asked of the
// store.
//
// Before it is loaded, and when it is older than is allowed, every key of the
// store, and every token, is refused with 503.
type Memory struct {
	log *slog.Logger
	now func() time.Time

	held  atomic.Pointer[held] // nil: never loaded
	seen  atomic.Int64         // when it was last up to date, Unix nanoseconds
	store atomic.Pointer[store.Store]
	taken atomic.Pointer[map[string]bool] // names that the configuration has

	tell func(event string) // of what was taken back; nil: nobody is told

	mu   sync.Mutex // of the writer
	mark store.Mark // up to which held is complete

	asks asker

	unsealer Unsealer // nil: nothing is opened
}

// held is the content as of one load and all changes since.
type held struct {
	table  *table
	names  names
	limits limits
	ended  revocations
	hasher atomic.Pointer[hasher] // of imported keys; nil: there are none
}

// kinds are what is held, consumers before what belongs to them.
var kinds = []store.Kind{kindConsumer, kindSecret, kindKey, kindRevocation}

// NewMemory returns a Memory that knows nothing yet.
func NewMemory(log *slog.Logger, now func() time.Time) *Memory {
	return &Memory{log: log, now: now, asks: asker{within: askWithin}}
}

// Tell says who is told, in constant words, when something is taken back. It is
// called before Run.
func (m *Memory) Tell(f func(event string)) { m.tell = f }

func (m *Memory) happened(event string) {
	if m.tell != nil {
		m.tell(event)
	}
}

// Load reads all that the store has. What was held before stays in use until
// then, and on an error.
func (m *Memory) Load(ctx context.Context, s *store.Store) error {
	m.store.Store(s)
	fill, ended, next := newFiller(), &revocationFiller{}, &held{}
	now := m.now()
	unreadable := 0
	var why error
	mark, err := s.Stream(ctx, func(r store.Record) error {
		var err error
		switch r.Kind {
		case kindConsumer:
			err = m.addConsumer(&next.names, &r)
		case kindKey:
			var k StoredKey
			if k, err = readKey(&r); err == nil {
				fill.add(k.entry(next.names.place(k.Consumer), next.limits.place(k.Limits)))
			}
		case kindSecret:
			next.hasher.Store(m.hasher(&r))
		case kindRevocation:
			err = ended.add(&r)
		}
		if err != nil {
			unreadable++
			why = err
		}
		return nil
	}, kinds...)
	if err != nil {
		return err
	}
	next.table = fill.done()
	if old := m.held.Load(); old != nil {
		next.table.inherit(old.table)
	}
	ended.into(&next.ended)
	m.mu.Lock()
	m.held.Store(next)
	m.mark = mark
	m.seen.Store(now.UnixNano())
	m.mu.Unlock()
	if unreadable > 0 {
		m.log.Error("some of the store's records cannot be read: consumers and keys are refused, revocations taken as widely as can be", "records", unreadable, "last", why)
	}
	return nil
}

// Run keeps the memory in step with the store until ctx ends. It calls changed
// after something was taken back: what was let in by it is to be judged again.
func (m *Memory) Run(ctx context.Context, s *store.Store, changed func()) {
	const shortest, longest = 100 * time.Millisecond, 2 * time.Second
	pause := shortest
	loaded := m.held.Load() != nil
	for ctx.Err() == nil {
		if !loaded {
			if err := m.Load(ctx, s); err != nil {
				if ctx.Err() == nil && pause == longest {
					m.log.Debug("the store's keys cannot be loaded", "error", err) // the store itself says that it is down
				}
				rest(ctx, pause)
				pause = min(2*pause, longest)
				continue
			}
			loaded = true
			changed()
		}
		pause = shortest
		m.mu.Lock()
		from := m.mark
		m.mu.Unlock()
		err := s.Follow(ctx, from, func(c store.Changes) error {
			if m.apply(&c) {
				changed()
			}
			return nil
		}, kinds...)
		if ctx.Err() == nil {
			m.log.Warn("the store's keys are read again", "because", err)
			loaded = false
			if !errors.Is(err, store.ErrGone) {
				rest(ctx, longest)
			}
		}
	}
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// apply makes the changes, and reports whether they may have taken something
// back.
func (m *Memory) apply(c *store.Changes) (back bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range c.List {
		back = m.change(&c.List[i]) || back
	}
	m.mark = c.Mark
	m.seen.Store(m.now().UnixNano())
	return back
}

func (m *Memory) change(c *store.Change) (back bool) {
	h := m.held.Load()
	var err error
	switch c.Kind {
	case kindConsumer:
		if !c.Deleted {
			err = m.addConsumer(&h.names, &c.Record)
		}
		if c.Deleted || err != nil {
			h.names.drop(c.ID)
			back = true
		}
	case kindKey:
		var k StoredKey
		if !c.Deleted {
			k, err = readKey(&c.Record)
		}
		if c.Deleted || err != nil {
			back = true
			if len(c.ID) == len(k.Ref.ID) {
				h.table.remove([8]byte([]byte(c.ID)), m.forgotten())
			}
			break
		}
		e := k.entry(h.names.place(k.Consumer), h.limits.place(k.Limits))
		h.table.put(e, m.forgotten())
		if e.revoked {
			m.happened("API key revoked")
		}
		back = e.expires != 0 || e.limits != 0
	case kindSecret:
		if c.Deleted {
			h.hasher.Store(nil)
		} else {
			h.hasher.Store(m.hasher(&c.Record))
		}
	case kindRevocation:
		if c.Deleted {
			h.ended.remove(c.ID, m.now().UnixMilli())
			break
		}
		m.happened("tokens revoked")
		err = h.ended.put(&c.Record, m.now().UnixMilli())
		back = true
	}
	if err != nil {
		m.log.Error("a change in the store takes something back that cannot be read", "error", err)
	}
	return back
}

// forgotten returns the moment before which ended keys are not kept.
func (m *Memory) forgotten() int64 { return m.now().Add(-afterlife).UnixMilli() }

func (m *Memory) addConsumer(names *names, r *store.Record) error {
	c, err := readConsumer(r)
	if err != nil {
		return err
	}
	if taken := m.taken.Load(); taken != nil && (*taken)[c.Name] {
		m.log.Error("a consumer of the store has the name of one in the configuration; its keys are refused", "consumer", c.Name,
			"mend", "delete one of them, or give it another name")
	}
	names.set(c.Name)
	return nil
}

// Reserve says which names the configuration in force has: consumers of the
// store that have one of them are refused, which is logged as they come. names
// is not changed any more.
func (m *Memory) Reserve(names map[string]bool) { m.taken.Store(&names) }

// Loaded reports whether the store was read.
func (m *Memory) Loaded() bool { return m.held.Load() != nil }

// Seen returns when the memory was last known to be what the store has; zero:
// never.
func (m *Memory) Seen() time.Time {
	if !m.Loaded() {
		return time.Time{}
	}
	return time.Unix(0, m.seen.Load())
}

// Consumer finds a consumer of the store by its name.
func (m *Memory) Consumer(name string) (*exchange.Consumer, bool) {
	h := m.held.Load()
	if h == nil {
		return nil, false
	}
	return h.names.get(name)
}

// key finds a key of the store. within is how old the memory may be. With ask
// the store may be asked, and a good key is noted as used.
func (m *Memory) key(ref *exchange.KeyRef, now time.Time, within time.Duration, ask bool) (r exchange.KeyRecord, code fault.Code) {
	h := m.held.Load()
	if h == nil {
		return r, fault.IdentityUnavailable
	}
	if now.UnixNano()-m.seen.Load() > int64(within) {
		return r, fault.KeysStale
	}
	e := h.table.get(ref.ID)
	if e == nil {
		code = fault.KeyUnknown
		if ask {
			code = m.ask(ref.ID, now)
		}
		if code != fault.None {
			return r, code
		}
		h = m.held.Load()
		if e = h.table.get(ref.ID); e == nil {
			return r, fault.KeyUnknown
		}
	}
	if e.ref != *ref {
		return r, fault.KeyUnknown
	}
	c := h.names.at(e.consumer)
	if c == nil {
		return r, fault.KeyUnknown
	}
	r = exchange.KeyRecord{Consumer: c, Expires: moment(e.expires), Stored: true, Limits: h.limits.at(e.limits)}
	switch {
	case e.revoked:
		return r, fault.KeyRevoked
	case e.expires != 0 && now.UnixMilli() >= e.expires:
		return r, fault.KeyExpired
	}
	if ask {
		e.use(now)
	}
	return r, fault.None
}

// names are the consumers of the store. Each name has a place, from when it
// first comes until the store is read anew. The zero value has none. One
// writer at a time; readers wait for nobody.
type names struct {
	places sync.Map // name -> uint32
	list   atomic.Pointer[[]*atomic.Pointer[exchange.Consumer]]
}

// place returns the place of a name, whether there is such a consumer or not.
func (n *names) place(name string) uint32 {
	if i, ok := n.places.Load(name); ok {
		return i.(uint32)
	}
	var list []*atomic.Pointer[exchange.Consumer]
	if old := n.list.Load(); old != nil {
		list = *old
	}
	// Readers of the old list do not see what is appended behind its end.
	list = append(list, new(atomic.Pointer[exchange.Consumer]))
	n.list.Store(&list)
	i := uint32(len(list) - 1)
	n.places.Store(name, i)
	return i
}

func (n *names) set(name string) {
	i := n.place(name) // which may put another list in place
	place := (*n.list.Load())[i]
	if place.Load() == nil {
		place.Store(&exchange.Consumer{Name: name})
	}
}

func (n *names) drop(name string) {
	if i, ok := n.places.Load(name); ok {
		(*n.list.Load())[i.(uint32)].Store(nil)
	}
}

func (n *names) at(i uint32) *exchange.Consumer { return (*n.list.Load())[i].Load() }

func (n *names) get(name string) (*exchange.Consumer, bool) {
	i, ok := n.places.Load(name)
	if !ok {
		return nil, false
	}
	c := n.at(i.(uint32))
	return c, c != nil
}

// limits are the limits of the store's keys, each once, at a place from when it
// first comes until the store is read anew. Place 0 is of keys without limits.
// The zero value has none. One writer at a time; readers wait for nobody.
type limits struct {
	places map[string]uint32
	list   atomic.Pointer[[]*exchange.KeyLimits]
}

func (l *limits) place(of *exchange.KeyLimits) uint32 {
	if of == nil {
		return 0
	}
	text := string(encode(of))
	if i, ok := l.places[text]; ok {
		return i
	}
	list := []*exchange.KeyLimits{nil}
	if old := l.list.Load(); old != nil {
		list = *old
	} else {
		l.places = map[string]uint32{}
	}
	list = append(list, of) // behind the end that readers of the old list see
	l.list.Store(&list)
	i := uint32(len(list) - 1)
	l.places[text] = i
	return i
}

func (l *limits) at(i uint32) *exchange.KeyLimits {
	if i == 0 {
		return nil
	}
	return (*l.list.Load())[i]
}
