package counters

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Address says where counters are kept. The zero Address is memory.
type Address struct {
	TLS bool // the server's certificate is verified

	kind     kind
	hosts    []string // host:port
	user     string
	password string
	db       int
	master   string // name of the set that sentinels watch

	sentinelPassword string
}

type kind uint8

const (
	memory kind = iota
	single
	sentinel
	cluster
)

// InMemory reports whether counters are kept in memory.
func (a Address) InMemory() bool { return a.kind == memory }

// String returns the address without user and passwords.
func (a Address) String() string {
	if a.kind == memory {
		return "memory"
	}
	s := [...]string{single: "redis", sentinel: "redis+sentinel", cluster: "redis+cluster"}[a.kind]
	if a.TLS {
		s = "rediss" + strings.TrimPrefix(s, "redis")
	}
	s += "://" + strings.Join(a.hosts, ",")
	if a.kind == sentinel {
		s += "/" + a.master
	}
	if a.db != 0 {
		s += "/" + strconv.Itoa(a.db)
	}
	return s
}

// local reports whether every host is this machine.
func (a Address) local() bool {
	for _, h := range a.hosts {
		host, _, _ := net.SplitHostPort(h)
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

const maxHosts = 32

// ParseAddress reads where counters are kept:
//
//	memory
//	redis://[USER:PASSWORD@]HOST[:6379][/DB]
//	redis+sentinel://[USER:PASSWORD@]HOST[:26379],…/MASTER[/DB][?sentinelPassword=…]
//	redis+cluster://[USER:PASSWORD@]HOST[:6379],…
//
// valkey stands for redis everywhere; rediss and valkeys are the same with
// TLS. No error repeats any of the text.
func ParseAddress(text string) (a Address, err error) {
	if text == "memory" {
		return a, nil
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return Address{}, errors.New("is neither memory nor an address such as redis://HOST:6379")
	}
	port := "6379"
	product, mode, _ := strings.Cut(scheme, "+")
	switch {
	case mode == "sentinel":
		a.kind, port = sentinel, "26379"
	case mode == "cluster":
		a.kind = cluster
	case product == scheme:
		a.kind = single
	}
	switch product {
	case "rediss", "valkeys":
		a.TLS = true
	case "redis", "valkey":
	default:
		a.kind = memory
	}
	if a.kind == memory {
		return Address{}, errors.New("has no scheme that is known; use redis, valkey or, with TLS, rediss, valkeys, each alone or followed by +sentinel or +cluster")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		if a.user, err = url.PathUnescape(user); err == nil {
			a.password, err = url.PathUnescape(password)
		}
		if err != nil || a.password == "" || strings.ContainsAny(authority[:i], "@") {
			return Address{}, errors.New("has no user and password before the @ that can be read; write USER:PASSWORD@ or :PASSWORD@, with special characters percent-encoded")
		}
		authority = authority[i+1:]
	}
	if a.hosts, err = hosts(authority, port); err != nil {
		return Address{}, err
	}
	if a.kind == single && len(a.hosts) > 1 {
		return Address{}, errors.New("names several servers; say what they are: redis+sentinel:// or redis+cluster://")
	}
	if a.kind == sentinel {
		a.master, path, _ = strings.Cut(path, "/")
		if a.master == "" {
			return Address{}, errors.New("does not say which master the sentinels watch; write redis+sentinel://HOST:26379/MASTER")
		}
		if password, ok := strings.CutPrefix(query, "sentinelPassword="); ok {
			if a.sentinelPassword, err = url.QueryUnescape(password); err != nil || strings.Contains(password, "&") {
				return Address{}, errors.New("has a sentinelPassword that cannot be read; percent-encode special characters")
			}
			query = ""
		}
	}
	if query != "" {
		return Address{}, errors.New("ends in something after a ? that is not known here")
	}
	if path != "" {
		if a.db, err = strconv.Atoi(path); err != nil || a.db < 0 || a.db > 1<<16 || strconv.Itoa(a.db) != path {
			return Address{}, errors.New("ends in something that is not the number of a database")
		}
		if a.kind == cluster && a.db != 0 {
			return Address{}, errors.New("names a database, of which a cluster has only one")
		}
	}
	return a, nil
}

func hosts(list, port string) (all []string, err error) {
	for h := range strings.SplitSeq(list, ",") {
		host, p, err := net.SplitHostPort(h)
		if err != nil { // without a port
			host, p = h, port
			if inside, ok := strings.CutPrefix(h, "["); ok {
				if host, ok = strings.CutSuffix(inside, "]"); !ok {
					host = ""
				}
			} else if strings.Contains(h, ":") {
				host = ""
			}
		}
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 || !isHost(host) {
			return nil, errors.New("names a server that is not HOST or HOST:PORT")
		}
		all = append(all, net.JoinHostPort(host, p))
	}
	if len(all) > maxHosts {
		return nil, errors.New("names more than 32 servers")
	}
	return all, nil
}

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return !strings.Contains(s, "%")
	}
	name := func(r rune) bool {
		return r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !name(r) }) < 0
}
