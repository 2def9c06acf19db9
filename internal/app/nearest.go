package app

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/route"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// nearest says which routes come nearest to a request that none took: those of
// its host whose patterns share the longest beginning with its path, or the
// hosts there are. It is for operators alone.
func nearest(snap *snapshot.Snapshot, host, path string) string {
	const most = 3
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	type candidate struct {
		text   string
		common int
	}
	var near, hostless []candidate
	var hosts []string
	named := false // the host has routes of its own
	for i := range snap.Routes() {
		l := snap.Routes()[i].Labels
		c := candidate{fmt.Sprintf("%s (%s)", l.Pattern, l.Name), common(l.Pattern, path)}
		switch {
		case l.Host == "":
			hostless = append(hostless, c)
		case l.Host == route.AnyHost:
			near = append(near, c)
		case strings.EqualFold(l.Host, host), l.Host[0] == '*' && strings.HasSuffix(host, strings.ToLower(l.Host[1:])):
			near, named = append(near, c), true
		default:
			hosts = append(hosts, l.Host)
		}
	}
	if !named {
		near = append(near, hostless...)
	}
	if len(near) == 0 {
		slices.Sort(hosts)
		if hosts = slices.Compact(hosts); len(hosts) > most {
			hosts = append(hosts[:most], "…")
		}
		if len(hosts) == 0 {
			return "there is no route"
		}
		return "no route has this host; routes have " + strings.Join(hosts, ", ")
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(b.common, a.common) })
	var words []string
	for _, c := range near[:min(most, len(near))] {
		words = append(words, c.text)
	}
	return "no route of this host takes this path; the nearest are " + strings.Join(words, ", ")
}

// common returns how many bytes two texts begin with alike.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
