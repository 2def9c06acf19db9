package config

import (
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/secret"
)

// Registration is as which client an issuer knows us, and what proves it.
type Registration struct {
	ClientID     string       `json:"clientId" required:"true"`
	ClientAuth   string       `json:"clientAuth" enum:"clientSecretBasic,clientSecretPost,privateKeyJwt,tlsClient"`
	ClientSecret secret.Value `json:"clientSecret"` // a reference
	CertFile     File         `json:"certFile"`     // of tlsClient
	KeyFile      File         `json:"keyFile"`      // of privateKeyJwt and tlsClient
}

// proofs says which keys each way to prove a client takes.
var proofs = map[string][]string{
	"clientSecretBasic": {"clientSecret"},
	"clientSecretPost":  {"clientSecret"},
	"privateKeyJwt":     {"keyFile"},
	"tlsClient":         {"certFile", "keyFile"},
}

// Introspection says how an issuer is asked about opaque tokens.
type Introspection struct {
	Registration
	Endpoint string          `json:"endpoint"` // empty: by discovery
	Cache    scalar.Duration `json:"cache"`
	JWT      bool            `json:"jwt"` // JWTs are asked about as well
}

func (i *Introspection) defaults() {
	i.ClientAuth = "clientSecretBasic"
	i.Cache = scalar.Duration(maxAnswerAge)
}

// maxAnswerAge bounds how long an issuer's answer may be believed: a token
// that it takes back dies within this time.
const maxAnswerAge = 30 * time.Second

func (c *checker) introspection(i *Introspection, path string) {
	if i == nil || c.d.problems.touch(path) {
		return
	}
	if i.Endpoint != "" {
		c.remote(i.Endpoint, under(path, "endpoint"))
	}
	c.duration(under(path, "cache"), i.Cache, 0, maxAnswerAge)
	c.registration(&i.Registration, path)
}

// registration sees to it that what proves a client is there, and nothing that
// would be ignored.
func (c *checker) registration(r *Registration, path string) {
	// References are not resolved yet: what is there stands in the document.
	if !r.ClientSecret.IsZero() {
		c.complain(under(path, "clientSecret"), "a secret does not stand in the document", "write a reference such as ${env:NAME} or ${file:PATH}")
	}
	for _, key := range []string{"clientSecret", "certFile", "keyFile"} {
		takes, written := slices.Contains(proofs[r.ClientAuth], key), c.doc.root.written(under(path, key))
		switch {
		case takes && !written:
			c.complain(path, r.ClientAuth+" needs "+key, "add it, or write another clientAuth")
		case written && !takes:
			c.complain(under(path, key), "has no use with clientAuth "+r.ClientAuth, "remove one of the two")
		}
	}
}
