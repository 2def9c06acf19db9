// Package login keeps browser sessions that began with a login at an OpenID
// Connect provider: the authorization code flow with PKCE, state and nonce
// (OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 9700), refresh, logout
// at the provider and logout by it.
//
// A Party is the relying party of one issuer under one configuration. It
// answers Warder's own routes for browsers (http.Handler) and says whose a
// session is. Sessions is what outlives configurations: the sessions in memory,
// and their sealed copies in the store.
//
// A login that has begun is kept by its browser alone, sealed, so that
// strangers who begin logins cost no memory here.
package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

// Root is the folder of the routes that a Party answers.
const Root = "/.warder/login/"

// Config is one relying party.
type Config struct {
	Name       string // of the issuer in the configuration; letters, digits, ".", "_", "-"
	Issuer     string // iss, byte for byte
	ClientID   string
	Scopes     []string // openid among them
	Idle       time.Duration
	Lifetime   time.Duration
	MaxSilence time.Duration // of the store, after which no session is believed
	Algorithms []string
	ClockSkew  time.Duration
	Roles      []string // claim paths
	Keys       keys.Set
	Provider   *keys.Provider
	Directory  Directory
	Sessions   *Sessions
	Log        *slog.Logger
}

// Directory finds the named consumer that claims a client of an issuer, and
// says of which identities the session was taken back.
type Directory interface {
	Client(issuer, client string) (*exchange.Consumer, bool)
	Revoked(id *exchange.Identity, now time.Time) fault.Code
}

// Party is the relying party of one issuer. Immutable; safe for concurrent use.
type Party struct {
	cfg    Config
	cookie string
	base   string // of its routes: Root, name, slash
}

// NewParty returns the relying party of cfg.
func NewParty(cfg Config) *Party {
	// Cookies of issuers whose names differ in case only are told apart, too.
	mark := digest("cookie", cfg.Name)
	return &Party{cfg: cfg, cookie: exchange.CookiePrefix + "session-" + hex.EncodeToString(mark[:4]), base: Root + cfg.Name + "/"}
}

// Route is one route of a Party.
type Route struct {
	Path    string
	Methods []string
	MaxBody int64
}

// The routes of a Party, below its base.
const (
	pathStart       = "start"
	pathCallback    = "callback"
	pathLogout      = "logout"
	pathDone        = "done"
	pathBackChannel = "backchannel-logout"
)

// Routes returns the routes that a Party answers.
func (p *Party) Routes() []Route {
	return []Route{
		{p.base + pathStart, []string{"GET"}, 1},
		{p.base + pathCallback, []string{"GET"}, 1},
		{p.base + pathLogout, []string{"GET", "POST"}, 1 << 10},
		{p.base + pathDone, []string{"GET"}, 1},
		{p.base + pathBackChannel, []string{"POST"}, 2 * maxToken},
	}
}

// Cookie returns the name of the cookie that holds a session's id.
func (p *Party) Cookie() string { return p.cookie }

// LoginAt appends where a browser is sent to log in and come back to target.
func (p *Party) LoginAt(b, target []byte) []byte {
	b = append(b, p.base...)
	b = append(b, pathStart+"?return="...)
	return append(b, url.QueryEscape(string(target))...)
}

// Identity returns who the session belongs to that has this id and was begun
// at this host. Errors are *fault.Error.
func (p *Party) Identity(ctx context.Context, id, host []byte, now time.Time, ask bool) (*exchange.Identity, error) {
	s, err := p.session(ctx, id, host, now, ask)
	if err != nil {
		return nil, err
	}
	return p.identity(s), nil
}

// identity returns the identity of a session under this configuration. It is
// made anew when that changes, or who claims the client.
func (p *Party) identity(s *session) *exchange.Identity {
	var named *exchange.Consumer
	if p.cfg.Directory != nil {
		named, _ = p.cfg.Directory.Client(p.cfg.Name, p.cfg.ClientID)
	}
	st := s.state.Load()
	if v := s.view.Load(); v != nil && v.party == p && v.state == st && v.id.Named == named {
		return v.id
	}
	began := time.UnixMilli(st.doc.Began)
	id := &exchange.Identity{
		Method: "login", Proof: "session " + s.Ref(), Issuer: p.cfg.Name,
		Subject: st.doc.Subject, Client: p.cfg.ClientID, Consumer: p.cfg.Name + "/" + p.cfg.ClientID, Named: named,
		Scopes: st.doc.Scopes, Expires: began.Add(p.cfg.Lifetime), Claims: st.claims, Session: s,
	}
	id.TokenID, _ = st.claims.String("jti")
	unnamed := exchange.MarkOf(exchange.RevokedConsumer, id.Consumer)
	if named != nil {
		id.Consumer = named.Name
	}
	token := exchange.NewSession(p.cfg.Issuer, id.TokenID, st.doc.Subject, st.doc.Began)
	token.Client = unnamed
	id.Token, id.Whose = &token, exchange.MarkOf(exchange.RevokedConsumer, id.Consumer)
	for _, path := range p.cfg.Roles {
		roles, _ := st.claims.Strings(path) // anything else holds no roles
		id.Roles = append(id.Roles, roles...)
	}
	s.view.Store(&view{p, st, id})
	return id
}

// Revoked is told of an identity whose session was taken back: the session is
// ended, soon.
func (p *Party) Revoked(id *exchange.Identity) {
	if s, ok := id.Session.(*session); ok {
		p.cfg.Sessions.endSoon(s)
	}
}

// view is an identity and what it was made from.
type view struct {
	party *Party
	state *state
	id    *exchange.Identity
}

// context names what a session or a login that has begun is good for: this
// issuer, this client, this entry of the configuration, this host.
func (p *Party) context(host string) string {
	d := digest("context", p.cfg.Name, p.cfg.Issuer, p.cfg.ClientID, host)
	return hex.EncodeToString(d[:])
}

// digest is of texts that cannot be taken for others: each has its length.
func digest(texts ...string) [32]byte {
	var b []byte
	for _, t := range texts {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return sha256.Sum256(b)
}

// hostname takes the port off an authority and folds its case.
func hostname(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		authority = authority[:i]
	}
	return strings.ToLower(strings.TrimSuffix(authority, "."))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") { // which the library skips
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil
}

// safeReturn returns where a browser may be sent after its login: a path of
// ours with its query, nothing that a browser could take for another site.
func safeReturn(target string) string {
	if len(target) == 0 || len(target) > maxReturn || target[0] != '/' || strings.HasPrefix(target, "//") {
		return "/"
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return "/"
		}
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host != "" || strings.HasPrefix(u.Path, "//") || strings.HasPrefix(u.Path, Root) || strings.ContainsAny(u.Path, "\\\r\n\t") {
		return "/"
	}
	return target
}

const maxReturn = 1000 // bytes

var (
	errExpired = fault.New(fault.SessionExpired, "the session has ended, or there never was one")
	errForeign = fault.New(fault.SessionExpired, "the cookie was not given out for this host, issuer and client")
	errOver    = fault.New(fault.SessionExpired, "the session has lasted as long as it may")
	errIdle    = fault.New(fault.SessionExpired, "the session was not used for too long")
	errSilent  = fault.New(fault.KeysStale, "the store was not heard of for longer than freshness.revocations: logouts elsewhere are not known")
	errUnasked = fault.New(fault.IdentityUnavailable, "the session is not in memory")
)

func unavailable(reason string, err error) error {
	return fault.New(fault.IdentityUnavailable, reason).Because(err)
}

// granted returns the scopes of a token answer; those asked for if it says
// nothing (RFC 6749 section 5.1), none if what it says is no text.
func (p *Party) granted(answer exchange.Claims) []string {
	raw, there := answer.Get("scope")
	if !there || raw == "null" {
		return slices.Clone(p.cfg.Scopes)
	}
	text, _ := raw.Text()
	return strings.Fields(text)
}
