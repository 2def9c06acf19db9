package config

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/secret"
)

// Document is one whole configuration as it was written, with the built-in
// defaults filled in where nothing was. It is plain data; nothing changes it
// after Resolve.
type Document struct {
	Version   int        `json:"version" enum:"1"`
	Listeners []Listener `json:"listeners"`
	Admin     Admin      `json:"admin"`
	Health    *Health    `json:"health"` // nil: with admin
	Drain     Drain      `json:"drain"`
	Keys      *Keys      `json:"keys"` // nil: embedded, made when something is sealed
	Counters  Counters   `json:"counters"`

	Issuers             Named[Issuer]        `json:"issuers"`
	AuthorizationServer *AuthorizationServer `json:"authorizationServer"` // nil: off
	Consumers           Named[Consumer]      `json:"consumers"`
	Limits              Named[Node]          `json:"limits"`
	Upstreams           Named[Upstream]      `json:"upstreams"`

	Defaults Settings   `json:"defaults"`
	APIs     Named[API] `json:"apis"`
	Routes   []Route    `json:"routes"`

	Store     secret.Value `json:"store"` // sqlite:FILE in the state folder, or postgres://…
	Log       Log          `json:"log"`
	Freshness Freshness    `json:"freshness"`

	NeverBlock scalar.List[Network] `json:"neverBlock"` // nothing automatic is held against these

	root       Node
	digest     [sha256.Size]byte
	references []reference
	problems   Problems
}

func (d *Document) defaults() {
	d.Version = 1
	d.Admin.defaults()
	d.Drain.defaults()
	d.Store = secret.New([]byte("sqlite:state.db"))
	d.Counters.defaults()
	d.Log.defaults()
	d.Freshness.defaults()
}

// Spared returns the ranges that nothing automatic is held against: what
// neverBlock lists, and the proxies of every listener, behind which everybody
// would be hit.
func (d *Document) Spared() []netip.Prefix {
	all := Prefixes(d.NeverBlock)
	for i := range d.Listeners {
		all = append(all, Prefixes(d.Listeners[i].TrustedProxies)...)
		if p := d.Listeners[i].ProxyProtocol; p != nil {
			all = append(all, Prefixes(p.From)...)
		}
	}
	return all
}

// Listener is one address that serves the public side.
type Listener struct {
	Name    string       `json:"name"`    // default: the address
	Address Address      `json:"address"` // default: 127.0.0.1:8080, with certificates :8443
	TLS     *ListenerTLS `json:"tls"`     // nil: plain
	Limits  Guard        `json:"limits"`
	H2C     bool         `json:"h2c"` // HTTP/2 without TLS too, by prior knowledge

	PublicURL       Origin               `json:"publicUrl"` // empty: as the request or a trusted proxy says
	RedirectToHTTPS bool                 `json:"redirectToHttps"`
	ProxyProtocol   *ProxyProtocol       `json:"proxyProtocol"`  // nil: nobody speaks it
	TrustedProxies  scalar.List[Network] `json:"trustedProxies"` // whose word on the client is taken
	Forwarded       string               `json:"forwarded" enum:"x-forwarded,rfc7239"`
	CertHeader      *CertHeader          `json:"clientCertHeader"` // nil: nobody forwards certificates
}

func (l *Listener) defaults() {
	l.Limits.defaults()
	l.Forwarded = "x-forwarded"
}

// ProxyProtocol says who begins a connection with a PROXY header.
type ProxyProtocol struct {
	From scalar.List[Network] `json:"from" required:"true"`
}

// CertHeader says which proxies forward their clients' certificates, and in
// which field.
type CertHeader struct {
	Form string               `json:"form" required:"true" enum:"client-cert,xfcc"`
	From scalar.List[Network] `json:"from" required:"true"`
}

// Plain reports whether the listener speaks HTTP without TLS.
func (l *Listener) Plain() bool { return l.TLS == nil || l.TLS.None }

// ListenerTLS says how a listener speaks TLS. The word none says that plain
// HTTP is meant.
type ListenerTLS struct {
	None         bool          `json:"-"`
	Certificates []Certificate `json:"certificates" required:"true"`
	MinVersion   string        `json:"minVersion" enum:"1.2,1.3"`
	ClientAuth   *ClientAuth   `json:"clientAuth"` // nil: clients are not asked
}

func (t *ListenerTLS) defaults() { t.MinVersion = "1.2" }

// UnmarshalText takes the word none.
func (t *ListenerTLS) UnmarshalText(text []byte) error {
	if string(text) != "none" {
		return errTLS
	}
	t.None = true
	return nil
}

// ClientAuth says what is asked of clients in the handshake.
type ClientAuth struct {
	CAFile  File              `json:"caFile" required:"true"`
	Mode    string            `json:"mode" enum:"none,optional,required"`
	CRLFile scalar.List[File] `json:"crlFile"`
	OCSP    string            `json:"ocsp"` // aia, or the URL of a responder; empty: nobody is asked
}

// OCSPByCertificate is the word for asking the responder that a certificate
// names (Authority Information Access).
const OCSPByCertificate = "aia"

func (a *ClientAuth) defaults() { a.Mode = "required" }

// Asks reports whether clients are asked for a certificate.
func (a *ClientAuth) Asks() bool { return a != nil && a.Mode != "none" }

// Certificate is a pair of PEM files, picked by server name.
type Certificate struct {
	CertFile File `json:"certFile" required:"true"`
	KeyFile  File `json:"keyFile" required:"true"`
}

// Guard bounds what strangers may ask of a listener.
type Guard struct {
	HeaderSize    scalar.Size     `json:"headerSize"`
	Headers       int             `json:"headers"`
	HeaderTimeout scalar.Duration `json:"headerTimeout"`
	IdleTimeout   scalar.Duration `json:"idleTimeout"`
	Connections   int             `json:"connections"` // 0: by the limit on open files

	ConnectionsPerAddress int `json:"connectionsPerAddress"` // 0: by Connections
}

func (g *Guard) defaults() {
	*g = Guard{
		HeaderSize:    16 << 10,
		Headers:       100,
		HeaderTimeout: scalar.Duration(5 * time.Second),
		IdleTimeout:   scalar.Duration(time.Minute),
	}
}

// Admin is where the gateway is managed.
type Admin struct {
	Address Address `json:"address"`
	Metrics string  `json:"metrics" enum:"open"` // empty: /metrics needs the token
}

func (a *Admin) defaults() { a.Address = "127.0.0.1:8901" }

// Health is where load balancers ask.
type Health struct {
	Address Address `json:"address" required:"true"`
}

// Drain says how the gateway ends: not ready and serving on for Delay, then
// closing gently, cut at Limit.
type Drain struct {
	Delay scalar.Duration `json:"delay"`
	Limit scalar.Duration `json:"limit"`
}

func (d *Drain) defaults() {
	*d = Drain{Delay: scalar.Duration(5 * time.Second), Limit: scalar.Duration(30 * time.Second)}
}

// Keys says with what Warder seals what it keeps.
type Keys struct {
	Provider   string       `json:"provider" required:"true" enum:"embedded" later:"vault,aws-kms,gcp-kms,azure-key-vault,pkcs11"`
	Passphrase secret.Value `json:"passphrase"` // a reference; zero: the key file is not locked
}

// Issuer is who signs the tokens we accept.
type Issuer struct {
	Preset       string              `json:"preset" enum:"okta,auth0,cognito,entra-id,keycloak"` // empty: nothing is known of the provider
	Tenant       string              `json:"tenant"`                                             // what the preset makes issuer of
	Tenants      scalar.List[string] `json:"tenants"`
	Issuer       string              `json:"issuer"` // iss, byte for byte; made of the tenant if it is not written
	JWKSURI      string              `json:"jwksUri"`
	JWKSFile     File                `json:"jwksFile"`
	CAFile       File                `json:"caFile"`
	Audience     scalar.List[string] `json:"audience"`
	ClientIDs    scalar.List[string] `json:"clientIds"`
	Algorithms   []string            `json:"algorithms" enum:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA" later:"HS256,HS384,HS512"`
	ClockSkew    scalar.Duration     `json:"clockSkew"`
	Consumer     scalar.List[string] `json:"consumer"` // claims that name the calling application, first present wins
	Roles        scalar.List[string] `json:"roles"`    // claim paths; empty: none
	TokenType    string              `json:"tokenType" enum:"access,at+jwt,any"`
	TokenBinding string              `json:"tokenBinding" enum:"asIssued,dpop,mtls"`

	Introspection *Introspection `json:"introspection"` // nil: opaque tokens are not asked about
	Login         *Login         `json:"login"`
	accepted      []Tenant       // see Accepted
}

// Logins reports whether browsers log in at an issuer.
func (d *Document) Logins() bool {
	return slices.ContainsFunc(d.Issuers, func(e Entry[Issuer]) bool { return e.Value.Login != nil })
}

// Proofs reports whether an issuer takes no tokens without a proof of their key.
func (d *Document) Proofs() bool {
	return slices.ContainsFunc(d.Issuers, func(e Entry[Issuer]) bool { return e.Value.TokenBinding == "dpop" })
}

// Asserts reports whether some route has assertions signed for its backend.
func (d *Document) Asserts() (asserts bool) {
	d.EachPolicy(func(path string, value Node) {
		asserts = asserts || path == "identity" && value.written("jwt")
	})
	return asserts
}

func (i *Issuer) defaults() {
	i.Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
	i.ClockSkew = scalar.Duration(30 * time.Second)
	i.Consumer = scalar.List[string]{"azp", "client_id", "cid", "appid"}
	i.TokenType = "access"
	i.TokenBinding = "asIssued"
}

// AuthorizationServer is the embedded OAuth 2 provider.
type AuthorizationServer struct {
	Issuer              string          `json:"issuer" required:"true"`
	AccessTokenLifetime scalar.Duration `json:"accessTokenLifetime"`
	Clients             Named[Client]   `json:"clients"`
}

func (s *AuthorizationServer) defaults() {
	s.AccessTokenLifetime = scalar.Duration(5 * time.Minute)
}

// Client may ask the embedded provider for tokens.
type Client struct {
	Secret   secret.Value        `json:"secret" required:"true"` // "sha256:" and hex, or by reference; see Digest
	Scopes   scalar.List[string] `json:"scopes"`
	Audience scalar.List[string] `json:"audience" required:"true"`
}

// Consumer is a named caller.
type Consumer struct {
	APIKeys      []APIKey            `json:"apiKeys"`
	Certificates []ConsumerCert      `json:"certificates"`
	Clients      []Caller            `json:"clients"`
	Roles        scalar.List[string] `json:"roles"` // of its own credentials; a token brings its own
	// Password is an Argon2id hash in PHC form, or a reference to one: the
	// consumer's name and the password are Basic credentials.
	Password secret.Value `json:"password"`
}

// APIKey is the digest of a key, the last day it is good, and where.
type APIKey struct {
	Hash    Digest      `json:"hash" required:"true"`
	Expires scalar.Date `json:"expires"` // zero: never
	// Where it is good; empty: everywhere.
	From   scalar.List[Network] `json:"from"`
	Routes scalar.List[string]  `json:"routes"`
}

// ConsumerCert says which client certificates are a consumer's: by one of
// three names, and by the CA that vouches for it.
type ConsumerCert struct {
	CAFile     File       `json:"caFile"` // may be left out where there is one CA
	SANDNS     string     `json:"sanDns"`
	SANURI     string     `json:"sanUri"`
	Thumbprint Thumbprint `json:"thumbprint"`
}

// Caller is a client of an issuer: the only way for a token to become a named
// consumer.
type Caller struct {
	Issuer string `json:"issuer" required:"true"`
	ID     string `json:"id" required:"true"`
}

// Upstream is a group of equal targets. Written as a list it is the targets.
type Upstream struct {
	Targets  []Target     `json:"targets" required:"true"`
	Timeout  Timeout      `json:"timeout"`
	TLS      *UpstreamTLS `json:"tls"`
	Host     string       `json:"host"` // keep, upstream, or a name
	Protocol string       `json:"protocol" enum:"http1,http2,grpc"`
}

func (u *Upstream) defaults() { u.Host, u.Protocol = "keep", "http1" }

// Target is one URL, http or https, whose path is a prefix.
type Target struct {
	URL string `json:"url" required:"true"`
}

// UnmarshalText takes the URL.
func (t *Target) UnmarshalText(text []byte) error {
	t.URL = string(text)
	return nil
}

// UpstreamTLS says whom to trust behind https targets, and what to show them.
type UpstreamTLS struct {
	CAFile     File   `json:"caFile"`
	CertFile   File   `json:"certFile"`
	KeyFile    File   `json:"keyFile"`
	ServerName string `json:"serverName"`
}

// Timeout bounds a call to an upstream. Fields that were not written are zero
// in the document; Flatten fills them. One word is the total.
type Timeout struct {
	Connect   scalar.Timeout `json:"connect"`
	FirstByte scalar.Timeout `json:"firstByte"` // from the last request byte
	Idle      scalar.Timeout `json:"idle"`
	Total     scalar.Timeout `json:"total"`
}

// UnmarshalText takes the total.
func (t *Timeout) UnmarshalText(text []byte) error { return t.Total.UnmarshalText(text) }

// Settings are what a route may inherit: route, then API, then defaults, each
// value whole.
type Settings struct {
	Upstream     *UpstreamRef `json:"upstream"`
	Auth         *Auth        `json:"auth"`
	Timeout      *Timeout     `json:"timeout"`
	Body         *Body        `json:"body"`
	PathAllow    *[]string    `json:"pathAllow" enum:"encodedSlash,semicolon,emptySegments,encodedReserved,encodedPercent"`
	Pass         *[]string    `json:"pass"` // header fields
	ForwardToken *bool        `json:"forwardToken"`
	Policies     Policies     `json:"-"` // by path, without those under auth and body
}

func (s *Settings) catalog() (string, *Policies) { return "", &s.Policies }

// UpstreamRef names an upstream.
type UpstreamRef struct {
	Name string `json:"-"`
}

// UnmarshalText takes the name.
func (u *UpstreamRef) UnmarshalText(text []byte) error {
	u.Name = string(text)
	return nil
}

// Policies holds values of catalog policies by path ("rateLimit", "auth.jwt"),
// not decoded yet.
type Policies map[string]Node

// Auth says who may call a route: one proof and its conditions, each the
// value of a catalog policy, or a list of such objects of which one has to
// hold (anyOf), or all (allOf). The word none is { none: true }.
type Auth struct {
	AnyOf    []Proof  `json:"anyOf"`
	AllOf    []Proof  `json:"allOf"`
	Policies Policies `json:"-"` // without those of the lists
}

func (a *Auth) catalog() (string, *Policies) { return "auth.", &a.Policies }

// Proof is one object of a list: one proof and its conditions.
type Proof struct {
	Policies Policies `json:"-"`
	node     Node
}

func (p *Proof) catalog() (string, *Policies) { return "auth.", &p.Policies }

// Body bounds request bodies.
type Body struct {
	MaxSize  scalar.Size `json:"maxSize"`
	Policies Policies    `json:"-"`
}

func (b *Body) defaults() { b.MaxSize = 1 << 20 }

func (b *Body) catalog() (string, *Policies) { return "body.", &b.Policies }

// API is a group of routes under one path.
type API struct {
	Host     string   `json:"host"`
	BasePath string   `json:"basePath" required:"true"`
	Defaults Settings `json:"defaults"`
	Routes   []Route  `json:"routes" required:"true"`
}

// Route says what happens to the requests it matches.
type Route struct {
	Name    string   `json:"name"` // default: methods and path
	Host    string   `json:"host"`
	Path    string   `json:"path" required:"true"`
	Methods []string `json:"methods" enum:"GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS"`
	Match   Match    `json:"match"`
	Upgrade []string `json:"upgrade" enum:"websocket"`
	Settings
}

// Match holds conditions beyond host, path and method.
type Match struct {
	Headers Named[string] `json:"headers"`
}

// Log says where records go.
type Log struct {
	Access AccessLog `json:"access"`
}

func (l *Log) defaults() { l.Access.defaults() }

// AccessLog is one record per request.
type AccessLog struct {
	Format string            `json:"format" enum:"json" later:"ecs,ocsf,cef"`
	To     scalar.List[Sink] `json:"to"`
}

func (a *AccessLog) defaults() {
	*a = AccessLog{Format: "json", To: scalar.List[Sink]{{Stdout: true}}}
}

// Sink is a place records go to: the word stdout, or a file.
type Sink struct {
	Stdout bool   `json:"-"`
	File   string `json:"file" required:"true"` // relative to the state folder
}

// UnmarshalText takes the word stdout.
func (s *Sink) UnmarshalText(text []byte) error {
	if string(text) != "stdout" {
		return errSink
	}
	s.Stdout = true
	return nil
}

// Freshness says how old what we know of others may be.
type Freshness struct {
	JWKS        scalar.Duration `json:"jwks"`
	Revocations scalar.Duration `json:"revocations"`
}

func (f *Freshness) defaults() {
	f.JWKS = scalar.Duration(24 * time.Hour)
	f.Revocations = scalar.Duration(10 * time.Minute)
}
