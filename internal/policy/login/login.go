// Package login is the policy that authenticates by a browser session: one
// that began with a login at the issuer that the route names (OpenID Connect).
//
// A cookie is sent by a browser whoever made it ask. So what changes something,
// and what opens a connection, has to come from a page of the same site, and
// nothing else may be presented beside the cookie.
package login

import (
	"context"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Config is the name of the issuer where browsers log in.
type Config = string

// When a caller may come again after a refusal that is our own fault.
const retry = 5 * time.Second

// New compiles auth.login.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if cfg == "" {
		return pipeline.Parts{}, pipeline.Complain("", "names no issuer; name one of issuers:")
	}
	sessions, err := env.Login(cfg)
	if err != nil {
		return pipeline.Parts{}, err
	}
	p := &policy{sessions: sessions, cookie: sessions.Cookie()}
	return pipeline.Parts{
		Authenticate: p,
		Revoked:      p.again,
		Check:        exchange.Check{Phase: "authenticate", Name: "login " + cfg, Want: "a session"},
		Challenge:    pipeline.Challenge{Scheme: "Cookie", Params: `realm="` + cfg + `"`},
		Missing:      fault.LoginRequired,
		Scoped:       true,
		Reads:        []string{"cookie", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "x-requested-with", "authorization"},
	}, nil
}

// policy is auth.login, compiled. Immutable.
type policy struct {
	sessions pipeline.Sessions
	cookie   string
}

// Authenticate implements pipeline.Authenticator.
func (p *policy) Authenticate(x *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	id, n := x.Req.Cookie(p.cookie)
	if n == 0 {
		p.offer(x)
		return nil, pipeline.NotMine
	}
	switch _, beside := x.Req.Get(exchange.HeaderAuthorization); {
	case n > 1:
		x.Trail.Saw("because", "there is more than one session cookie")
		return nil, pipeline.Refuse(fault.CredentialAmbiguous)
	case beside > 0:
		x.Trail.Saw("because", "there is an Authorization field beside the session cookie")
		return nil, pipeline.Refuse(fault.CredentialAmbiguous)
	}
	if (unsafe(x.Req.Method) || len(x.Req.Upgrade) > 0) && !ownPage(x) {
		x.Trail.Saw("because", "neither Sec-Fetch-Site nor Origin says that a page of this site asks")
		return nil, pipeline.Refuse(fault.CSRFRefused)
	}
	// What is in memory needs no context, which would have to be made.
	identity, err := p.sessions.Identity(context.Background(), id, authority(x), w.Now, false)
	if w.Remote && err != nil && fault.Of(err) == fault.IdentityUnavailable {
		identity, err = p.sessions.Identity(x.Context(), id, authority(x), w.Now, true)
	}
	if err == nil {
		x.Trail.Saw("proof", identity.Proof)
		x.Trail.Saw("subject", identity.Subject)
		x.Trail.Saw("consumer", identity.Consumer)
		x.Trail.SawNumber("expiresIn", int64(identity.Expires.Sub(w.Now)/time.Second))
		return identity, pipeline.Pass
	}
	x.Trail.Saw("because", fault.Reason(err))
	code := fault.Of(err)
	switch {
	case code == fault.SessionExpired:
		p.offer(x)
	case !w.Remote:
		return nil, pipeline.CannotTell(code)
	default:
		x.RetryAfter = retry
	}
	return nil, pipeline.Refuse(code)
}

// again ends a session that was taken back, and has its browser log in anew.
func (p *policy) again(x *exchange.Exchange, w *pipeline.World, id *exchange.Identity) {
	if w.Remote {
		p.sessions.Revoked(id)
	}
	p.offer(x)
}

// offer has a browser that navigates sent to the login.
func (p *policy) offer(x *exchange.Exchange) {
	if !navigates(&x.Req) {
		return
	}
	target := x.Alloc(len(x.Req.Path) + 1 + len(x.Req.Query))[:0]
	target = append(target, x.Req.Path...)
	if x.Req.HasQuery {
		target = append(target, '?')
		target = append(target, x.Req.Query...)
	}
	x.LoginAt = p.sessions.LoginAt(x.Alloc(64)[:0], target)
}

// navigates reports whether a browser shows its user the answer. Scripts are
// never sent to a login page: they could not show it.
func navigates(h *exchange.Head) bool {
	if string(h.Method) != "GET" || len(h.Upgrade) > 0 {
		return false
	}
	if _, n := h.Get(exchange.HeaderXRequestedWith); n > 0 {
		return false
	}
	if mode, n := h.Get(exchange.HeaderSecFetchMode); n > 0 {
		return n == 1 && string(mode) == "navigate"
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == exchange.HeaderAccept && acceptsHTML(f.Value) {
			return true
		}
	}
	return false
}

func acceptsHTML(value []byte) bool {
	const html = "text/html"
	for i := 0; i+len(html) <= len(value); i++ {
		if exchange.EqualFold(value[i:i+len(html)], html) {
			return true
		}
	}
	return false
}

func unsafe(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS":
		return false
	}
	return true
}

// ownPage reports whether the browser says that a page of this very origin asks.
func ownPage(x *exchange.Exchange) bool {
	if site, n := x.Req.GetName("sec-fetch-site"); n == 1 && string(site) == "same-origin" {
		return true
	}
	origin, n := x.Req.GetName("origin")
	scheme := "http://"
	if x.Secure {
		scheme = "https://"
	}
	at := authority(x)
	return n == 1 && len(at) > 0 && len(origin) == len(scheme)+len(at) && string(origin[:len(scheme)]) == scheme && equalFold(origin[len(scheme):], at)
}

// equalFold compares authorities: hosts have no case.
func equalFold(a, b []byte) bool {
	for i := range a {
		c, d := a[i], b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if d >= 'A' && d <= 'Z' {
			d |= 0x20
		}
		if c != d {
			return false
		}
	}
	return true
}

// authority is the host, and its port, that the browser asked for.
func authority(x *exchange.Exchange) []byte {
	if x.ForwardedHost != nil {
		return x.ForwardedHost
	}
	return x.Req.Authority
}
