package pipeline

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/password"
)

// Env is what a policy may know of the house when it is compiled. It hands
// out narrow interfaces; no policy sees the configuration, the store, the
// snapshot or another policy.
type Env struct {
	Route     string // label of the route, for buckets of its own
	Issuer    func(name string) (*Issuer, error)
	Limit     func(name string) (Limit, error)
	Directory Directory
	Login     func(issuer string) (Sessions, error)
	Guard     *guessing.Guard // what keeps guesses slow, outliving snapshots; nil: nothing does
	Spared    guessing.Spared // networks that nothing automatic is held against
	Nonces    *binding.Nonces // for proofs of possession, outliving snapshots; nil: none are given out
	Public    bool            // the route has auth: none
	AsksCerts bool            // clients may show a certificate on some listener
	Upstream  string          // name of the route's upstream

	Assertions Assertions // what signs for backends, outliving snapshots; nil: nothing does
}

// Assertions signs who a request was proved to come from; see
// assertion.Authority.
type Assertions interface {
	Sign(x *exchange.Exchange, content []byte, until, now time.Time) ([]byte, error)
}

// Directory is who may call: consumers and their credentials, in memory.
type Directory interface {
	// Key finds an API key. The code is None if it is good; otherwise why it is
	// not, and the record may have no consumer. Only if ask is true may this take time: at
	// most 100 ms, to ask the store.
	Key(ref exchange.KeyRef, now time.Time, ask bool) (exchange.KeyRecord, fault.Code)
	// Imported returns by what a key is found that is not of Warder's form, and
	// None; otherwise why there can be none. It never takes time.
	Imported(key []byte) (exchange.KeyRef, fault.Code)
	// Certificate finds by what a verified certificate is a consumer's, nil if
	// it is nobody's. rival is that of another consumer who claims it too.
	Certificate(c *exchange.CertFacts) (record, rival *exchange.CertRecord)
	// Client finds the named consumer that claims this client of this issuer.
	Client(issuer, client string) (*exchange.Consumer, bool)
	// Consumer finds a consumer by its name.
	Consumer(name string) (*exchange.Consumer, bool)
	// Password finds the stored password of the consumer with this name. If
	// there is none the consumer is nil and the hash one that costs as much as
	// that of a consumer who has one, and that no password matches.
	Password(name []byte) (*password.Hash, *exchange.Consumer)
}

// Sessions are the browser sessions that began with a login at one issuer.
type Sessions interface {
	// Cookie is the name of the cookie that holds a session's id.
	Cookie() string
	// LoginAt appends where a browser is sent that has to log in, and is to come
	// back to target: path and query, in normal form.
	LoginAt(b, target []byte) []byte
	// Identity returns who the session belongs to that has this id and was begun
	// at this host. Errors are *fault.Error: session_expired,
	// identity_unavailable, keys_stale. Only if ask is true may this take time:
	// to ask the store, at most 100 ms, or the issuer for a refresh that is due.
	Identity(ctx context.Context, id, host []byte, now time.Time, ask bool) (*exchange.Identity, error)
	// Revoked is told of an identity whose session was taken back: the session
	// is ended, soon.
	Revoked(id *exchange.Identity)
}

// Issuer is who signs the tokens we accept, compiled. Immutable.
type Issuer struct {
	Name       string   // in the configuration
	URL        string   // iss, byte for byte, where there are no Tenants
	Tenants    []Tenant // if there are any, iss is that of one and tid its id
	Audience   []string // one of them must be in aud
	ClientIDs  []string // instead of, or beside, Audience (see security.md)
	Algorithms []string
	ClockSkew  time.Duration
	Consumer   []string       // claims that name the calling application, first present wins
	Subject    []string       // claims that together say who somebody is; empty: sub
	Roles      []string       // claim paths of roles or groups
	TokenType  string         // access, at+jwt, any
	Binding    binding.Rule   // what its tokens have to be bound to
	Keys       keys.Set       // comparable: a pointer
	Verdicts   *keys.Verdicts // what was verified before, outliving snapshots; nil: nothing is remembered

	Introspector  *keys.Introspector // asks the issuer about opaque tokens; nil: it is not asked
	IntrospectJWT bool               // it is asked about JWTs as well
}

// Tenant is one of several that share an issuer's keys.
type Tenant struct{ URL, ID string }

// Accepts reports whether iss of a token is that of the issuer.
func (i *Issuer) Accepts(iss string) bool {
	if len(i.Tenants) == 0 {
		return iss == i.URL
	}
	return slices.ContainsFunc(i.Tenants, func(t Tenant) bool { return t.URL == iss })
}

// Kind is one line of the catalog: a policy, the place of its key in the
// document, and how it is built.
type Kind struct {
	Path   string // "rateLimit", "auth.jwt"
	config reflect.Type
	build  func(cfg any, env Env) (Parts, error)
}

// Policy makes a Kind from a policy's constructor. C is its Config type: plain
// data with json tags, decoded strictly by package config.
func Policy[C any](path string, build func(C, Env) (Parts, error)) Kind {
	return Kind{
		Path:   path,
		config: reflect.TypeFor[C](),
		build:  func(cfg any, env Env) (Parts, error) { return build(*cfg.(*C), env) },
	}
}

// NewConfig returns a pointer to a zero Config of the kind.
func (k Kind) NewConfig() any { return reflect.New(k.config).Interface() }

// Build compiles a Config that NewConfig made. Its error may be a *Problem.
func (k Kind) Build(cfg any, env Env) (Parts, error) { return k.build(cfg, env) }

// Problem is a complaint about one place inside a policy's Config, so that it
// can be shown with its line.
type Problem struct {
	Path string // below the policy's key: "burst", "[1].per"
	Text string // what is wrong and what to do
}

func (p *Problem) Error() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Complain makes a Problem.
func Complain(path, format string, args ...any) error {
	return &Problem{Path: path, Text: fmt.Sprintf(format, args...)}
}
