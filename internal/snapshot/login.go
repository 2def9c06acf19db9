package snapshot

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/login"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// party makes the relying party of an issuer. What is known of the issuer
// outlives the snapshot while all that it was asked with stays the same;
// sessions outlive it anyway.
func (b *build) party(path string, l *config.Login, iss *pipeline.Issuer, pool *x509.CertPool, ca []byte) {
	auth, secrets, err := b.clientProof(&l.Registration, iss.URL)
	if err != nil {
		if len(b.doc.Problems()) == 0 { // else it may have been said already
			b.complain(path, err.Error(), "")
		}
		return
	}
	cfg := keys.ProviderConfig{Issuer: iss.URL, CAPool: pool, Own: b.ownPorts(), Auth: auth}
	key := poolKey(append([]string{"provider", iss.Name, cfg.Issuer, fmt.Sprint(cfg.Own), string(ca)}, secrets...)...)
	sessions := b.Sessions
	if sessions == nil {
		sessions = login.NewSessions(b.Log, time.Now) // which refuse everything
	}
	b.parties[iss.Name] = login.NewParty(login.Config{
		Name: iss.Name, Issuer: iss.URL, ClientID: l.ClientID, Scopes: l.Scopes, Idle: l.Idle.Std(), Lifetime: l.Lifetime.Std(), MaxSilence: b.doc.Freshness.Revocations.Std(),
		Algorithms: iss.Algorithms, ClockSkew: iss.ClockSkew, Roles: iss.Roles, Keys: iss.Keys,
		Provider:  borrow(&b.s.loans, key, func() *keys.Provider { return keys.NewProvider(cfg) }),
		Directory: b.directory, Sessions: sessions, Log: b.Log,
	})
}

// loginOn returns pipeline.Env.Login for a route of that host.
func (b *build) loginOn(host string) func(string) (pipeline.Sessions, error) {
	return func(issuer string) (pipeline.Sessions, error) {
		if _, err := b.issuer(issuer); err != nil {
			return nil, err
		}
		p := b.parties[issuer]
		if i := b.doc.Issuers.Get(issuer); p == nil && i != nil && i.Login != nil {
			return nil, errSaid
		}
		if p == nil {
			return nil, fmt.Errorf("issuer %s has no login; give it login: { clientId: …, clientSecret: … }", issuer)
		}
		if !slices.Contains(b.logins[issuer], host) {
			b.logins[issuer] = append(b.logins[issuer], host)
		}
		return p, nil
	}
}

// loginRoutes are the routes that browsers log in by, on every host that has a
// route with that login.
func (b *build) loginRoutes() (all []LocalRoute) {
	for _, e := range b.doc.Issuers {
		p := b.parties[e.Name]
		for _, host := range b.logins[e.Name] {
			for _, r := range p.Routes() {
				all = append(all, LocalRoute{
					Name: strings.TrimPrefix(r.Path, "/.warder/"), Host: host, Path: r.Path, Methods: r.Methods,
					Handler: p, MaxBody: r.MaxBody, Reserved: true,
				})
			}
		}
	}
	return all
}

// folder is where Warder answers itself, on every host.
const folder = "/.warder"

// reserved reports whether a path is folder or lies below it. Nobody tells
// capitals apart here: a backend might not.
func reserved[T string | []byte](path T) bool {
	return len(path) >= len(folder) && path[1] == '.' && strings.EqualFold(string(path[:len(folder)]), folder) && (len(path) == len(folder) || path[len(folder)] == '/')
}

// reserve complains about routes below the folder that is ours.
func (b *build) reserve() {
	for _, p := range b.patterns {
		if reserved(p.Path) {
			b.problems = append(b.problems, b.flat[p.Route].Node.Complain("path", "lies below "+folder+", where this gateway answers itself", "give the route another path"))
		}
	}
}
