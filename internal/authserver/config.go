package authserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/pipeline"
)

const (
	defaultLifetime = 5 * time.Minute
	maxLifetime     = time.Hour
	maxIssuer       = 512   // bytes
	maxClients      = 10000 // larger sets belong in a store
	maxScopes       = 100   // per client
	maxAudience     = 20    // per client
	maxValue        = 256   // bytes of one scope or audience
)

// client is a Client, compiled. Immutable.
type client struct {
	id       string
	digest   [32]byte // SHA-256 of the secret
	scopes   []string
	audience []string
}

var (
	issuerPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)
	clientID   = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,128}$`)
	// scopeToken is RFC 6749 section 3.3.
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
)

// compile checks cfg and makes of it what requests run on. It reports every
// problem at once.
func compile(cfg Config) (*url.URL, map[string]*client, error) {
	var problems []error
	complain := func(path, text string) {
		problems = append(problems, pipeline.Complain(path, "%s", text))
	}
	issuer, wrong := parseIssuer(cfg.Issuer)
	if wrong != "" {
		complain("issuer", wrong)
	}
	if d := cfg.AccessTokenLifetime; d < 0 || d > maxLifetime || d%time.Second != 0 {
		complain("accessTokenLifetime", "must be whole seconds, from 1s to 1h; short tokens limit what a stolen one is worth")
	}
	if cfg.Signer == nil || len(cfg.Signer.Keys()) == 0 {
		complain("", "there is no key to sign tokens with")
	}
	if len(cfg.Clients) > maxClients {
		complain("clients", "at most 10000 clients can be listed here")
		return nil, nil, errors.Join(problems...)
	}
	clients := make(map[string]*client, len(cfg.Clients))
	for _, id := range slices.Sorted(maps.Keys(cfg.Clients)) {
		clients[id] = compileClient(id, cfg.Clients[id], complain)
	}
	return issuer, clients, errors.Join(problems...)
}

func compileClient(id string, cfg Client, complain func(path, text string)) *client {
	at := "clients." + id
	if !clientID.MatchString(id) {
		complain(at, "a client id is 1 to 128 letters, digits or . _ ~ -")
	}
	c := &client{id: id, scopes: slices.Clone(cfg.Scopes), audience: slices.Clone(cfg.Audience)}

	digest, ok := strings.CutPrefix(cfg.Secret, "sha256:")
	n, err := 0, error(nil)
	if len(digest) == 2*len(c.digest) {
		n, err = hex.Decode(c.digest[:], []byte(digest))
	}
	switch {
	case !ok || err != nil || n != len(c.digest) || strings.ToLower(digest) != digest:
		complain(at+".secret", `must be "sha256:" and the SHA-256 digest of the secret, 64 lower-case hex digits`)
	case c.digest == sha256.Sum256(nil):
		complain(at+".secret", "is the digest of an empty secret; make a secret of 256 random bits")
	}

	if len(c.scopes) > maxScopes {
		complain(at+".scopes", "at most 100 scopes")
	}
	if !distinct(c.scopes) {
		complain(at+".scopes", "a scope is listed twice")
	}
	for _, s := range c.scopes {
		if len(s) > maxValue || !scopeToken.MatchString(s) {
			complain(at+".scopes", `a scope is 1 to 256 printable ASCII characters without space, " and \`)
			break
		}
	}
	if len(c.audience) == 0 {
		complain(at+".audience", "at least one is required: the API that the tokens are for, as that API's issuer entry names it")
	}
	if len(c.audience) > maxAudience {
		complain(at+".audience", "at most 20")
	}
	if !distinct(c.audience) {
		complain(at+".audience", "an audience is listed twice")
	}
	for _, a := range c.audience {
		if a == "" || len(a) > maxValue || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) {
			complain(at+".audience", "an audience is 1 to 256 printable ASCII characters without space")
			break
		}
	}
	return c
}

func distinct(list []string) bool {
	sorted := slices.Sorted(slices.Values(list))
	return len(slices.Compact(sorted)) == len(list)
}

// parseIssuer returns the issuer, or what is wrong with it. Tokens are
// compared with it byte for byte, so that it must have one spelling only.
func parseIssuer(s string) (_ *url.URL, wrong string) {
	if s == "" {
		return nil, "is required: the https address under which this server is reached"
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > maxIssuer || u.String() != s {
		return nil, "is not a well-formed address in its usual spelling"
	}
	host := u.Hostname()
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(host)):
		return nil, "must begin with https:// (http:// is for loopback addresses only)"
	case host == "" || u.Host != strings.ToLower(u.Host) || strings.HasSuffix(u.Host, ":"):
		return nil, "needs a host, in lower case"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return nil, "must have no user, query or fragment"
	case !issuerPath.MatchString(u.EscapedPath()):
		return nil, "its path may hold letters, digits and . _ ~ - between single slashes, no segment that begins with a dot, and no slash at its end"
	}
	return u, ""
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
