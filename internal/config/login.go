package config

import (
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/scalar"
)

// Login says how browsers log in at an issuer, and how long their sessions last.
type Login struct {
	Registration
	Scopes   []string        `json:"scopes"`
	Idle     scalar.Duration `json:"idle"`
	Lifetime scalar.Duration `json:"lifetime"`
}

func (l *Login) defaults() {
	l.ClientAuth = "clientSecretBasic"
	l.Scopes = []string{"openid"}
	l.Idle = scalar.Duration(30 * time.Minute)
	l.Lifetime = scalar.Duration(12 * time.Hour)
}

// Bounds of a session.
const (
	shortestIdle    = time.Minute
	longestLifetime = 30 * 24 * time.Hour
)

func (c *checker) login(l *Login, issuer string) {
	path := under(issuer, "login")
	if l == nil || c.d.problems.touch(path) {
		return
	}
	c.strings(l.Scopes, under(path, "scopes"))
	if !slices.Contains(l.Scopes, "openid") {
		c.complain(under(path, "scopes"), "openid is not among the scopes: without it there is no login", "add openid")
	}
	for i, s := range l.Scopes {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '\\' || r > '~' }) {
			c.complain(item(under(path, "scopes"), i), "it is no scope (RFC 6749 section 3.3)", "write one scope per entry")
		}
	}
	c.duration(under(path, "lifetime"), l.Lifetime, shortestIdle, longestLifetime)
	c.duration(under(path, "idle"), l.Idle, shortestIdle, longestLifetime)
	if l.Idle > l.Lifetime {
		c.complain(under(path, "idle"), "is longer than lifetime, which ends the session before", "shorten it")
	}
	c.registration(&l.Registration, path)
}
