package snapshot

import (
	"crypto/x509"
	"fmt"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// bindings are the words for what tokens have to be bound to.
var bindings = map[string]binding.Rule{"asIssued": binding.AsIssued, "dpop": binding.ToKey, "mtls": binding.ToCertificate}

// compileIssuer makes an issuer. Its key set outlives the snapshot while all
// that it is made from stays the same.
func (b *build) compileIssuer(name string, i *config.Issuer) {
	path := entry("issuers", name)
	out := &pipeline.Issuer{
		Name: name, URL: i.Issuer, Audience: i.Audience, ClientIDs: i.ClientIDs, Algorithms: i.Algorithms,
		ClockSkew: i.ClockSkew.Std(), Consumer: i.Consumer, Subject: i.Subject(), Roles: i.Roles, TokenType: i.TokenType, Binding: bindings[i.TokenBinding], Verdicts: b.Verdicts,
	}
	for _, t := range i.Accepted() {
		out.Tenants = append(out.Tenants, pipeline.Tenant(t))
	}
	b.issuers[name] = out
	b.s.Issuers = append(b.s.Issuers, out)
	if own := b.local.Keys[i.Issuer]; own != nil {
		if i.JWKSURI != "" || i.JWKSFile != "" || i.CAFile != "" {
			b.complain(path, "is the authorization server of this gateway, whose keys are at hand: jwksUri, jwksFile and caFile have no use here", "remove them")
		}
		if i.Introspection != nil {
			b.complain(path+".introspection", "is asked of the authorization server of this gateway, whose tokens are JWTs and judged by its keys", "remove it; use jwt")
		}
		if i.Login != nil {
			b.complain(path+".login", "would have browsers log in at the authorization server of this gateway, which has no logins in this build", "remove it")
		}
		out.Keys = own
		return
	}
	if i.JWKSFile != "" && i.CAFile != "" && i.Introspection == nil && i.Login == nil {
		b.complain(path+".caFile", "has no use beside jwksFile: nothing is fetched", "remove one of the two")
	}
	cfg := keys.RemoteConfig{
		Issuer: i.Issuer, JWKSURI: i.JWKSURI, JWKSFile: string(i.JWKSFile),
		Own: b.ownPorts(), MaxStale: b.doc.Freshness.JWKS.Std(), Log: b.Log.With("issuer", name), Changed: b.KeysChanged,
	}
	var ca []byte
	if i.CAFile != "" {
		var err error
		if cfg.CAPool, ca, err = b.pool(string(i.CAFile)); err != nil {
			b.complain(path+".caFile", err.Error(), "")
			return
		}
	}
	key := poolKey("keys", cfg.Issuer, cfg.JWKSURI, cfg.JWKSFile, cfg.MaxStale.String(), fmt.Sprint(cfg.Own), string(ca))
	out.Keys = borrow(&b.s.loans, key, func() *keys.Remote { return keys.NewRemote(cfg) })
	if i.Introspection != nil {
		b.introspector(path+".introspection", i.Introspection, out, cfg.CAPool, ca)
	}
	if i.Login != nil {
		b.party(path+".login", i.Login, out, cfg.CAPool, ca)
	}
}

// introspector has an issuer asked about tokens. What it said is remembered
// while all that it was asked with stays the same.
func (b *build) introspector(path string, i *config.Introspection, out *pipeline.Issuer, pool *x509.CertPool, ca []byte) {
	auth, secrets, err := b.clientProof(&i.Registration, out.URL)
	if err != nil {
		if len(b.doc.Problems()) == 0 { // else it may have been said already
			b.complain(path, err.Error(), "")
		}
		return
	}
	cfg := keys.IntrospectorConfig{
		Issuer: out.URL, Endpoint: i.Endpoint, CAPool: pool, Own: b.ownPorts(), Auth: auth,
		Cache: i.Cache.Std(), Log: b.Log.With("issuer", out.Name),
	}
	key := poolKey(append([]string{"introspection", out.Name, cfg.Issuer, cfg.Endpoint, cfg.Cache.String(), fmt.Sprint(cfg.Own), string(ca)}, secrets...)...)
	out.Introspector = borrow(&b.s.loans, key, func() *keys.Introspector { return keys.NewIntrospector(cfg) })
	out.IntrospectJWT = i.JWT
}

// clientProof makes ready what proves us at an issuer; parts are all that it is
// made from.
func (b *build) clientProof(r *config.Registration, issuer string) (auth *keys.ClientAuth, parts []string, err error) {
	cfg := keys.ClientAuthConfig{Method: r.ClientAuth, ID: r.ClientID, Secret: r.ClientSecret, Issuer: issuer}
	parts = []string{r.ClientAuth, r.ClientID, string(r.ClientSecret.Reveal())}
	switch {
	case r.CertFile != "":
		if cfg.Pair, err = b.keyPair(string(r.CertFile), string(r.KeyFile)); err != nil {
			return nil, nil, err
		}
		for _, der := range cfg.Pair.Certificate {
			parts = append(parts, string(der))
		}
	case r.KeyFile != "":
		if cfg.Key, err = b.ReadFile(string(r.KeyFile)); err != nil {
			return nil, nil, err
		}
		parts = append(parts, string(cfg.Key))
	}
	if auth, err = keys.NewClientAuth(cfg); err != nil && r.KeyFile != "" {
		err = fmt.Errorf("%s: %w", r.KeyFile, err)
	}
	return auth, parts, err
}
