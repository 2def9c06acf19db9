package snapshot

import (
	"fmt"
	"slices"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/config"
)

// setAt is the name of a field, and where the document says it.
type setAt struct {
	name string
	node config.Node
	path string // below node
}

func (s *setAt) complain(b *build, text, mend string) {
	p := s.node.Complain(s.path, text, mend)
	if !slices.Contains(b.problems, p) { // several routes may have inherited it
		b.problems = append(b.problems, p)
	}
}

// compileSets makes one set of all fields that policies set towards upstreams,
// and complains about those that cannot be set, and about whatever goes by one
// that clients can never send.
func (b *build) compileSets() {
	by := map[string]setAt{}
	var names []string
	for _, f := range b.sets {
		if why := neverSet(f.name); why != "" {
			f.complain(b, why, "give the field a name of your own, such as X-User")
			continue
		}
		name := fold(f.name)
		names = append(names, name)
		if _, twice := by[name]; !twice {
			by[name] = f
		}
	}
	b.s.set = newSetFields(names)
	b.s.reads = append(b.s.reads, names...)
	for _, f := range b.asks {
		if set, ok := by[fold(f.name)]; ok {
			f.complain(b, fmt.Sprintf("goes by the field %s, which line %d sets for backends: it is removed from every request, on every route", f.name, set.node.At(set.path).Line),
				"give one of them another name")
		}
	}
}

// keyRoutes are the routes by which backends get the keys of assertions: on
// every host, those with routes of our own included.
func (b *build) keyRoutes() (all []LocalRoute) {
	if !b.asserts {
		return nil
	}
	hosts := []string{""}
	for _, l := range b.local.Routes {
		if !slices.Contains(hosts, l.Host) {
			hosts = append(hosts, l.Host)
		}
	}
	for _, host := range hosts {
		all = append(all, LocalRoute{Name: "jwks", Host: host, Path: assertion.Path, Methods: []string{"GET", "HEAD"}, Handler: b.Assertions, MaxBody: 1 << 10, Reserved: true})
	}
	return all
}
