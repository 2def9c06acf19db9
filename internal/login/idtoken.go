package login

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
)

const (
	maxToken  = 16 << 10 // bytes of a token
	maxHeader = 2 << 10
)

// signed is a JWS in compact form whose signature held.
type signed struct {
	alg, typ string
	claims   exchange.Claims
}

// verify checks a token that the issuer signed for this client: form,
// algorithm, key, signature, time, issuer, audience (OpenID Connect Core 1.0
// section 3.1.3.7). What kind of token it is the caller judges.
func (p *Party) verify(ctx context.Context, token string, now time.Time) (*signed, error) {
	if len(token) > maxToken {
		return nil, errors.New("the token is longer than 16 KiB")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the token does not have three parts")
	}
	head, ok1 := decode(parts[0])
	payload, ok2 := decode(parts[1])
	if _, ok3 := decode(parts[2]); !ok1 || !ok2 || !ok3 || len(head) > maxHeader {
		return nil, errors.New("the token is not base64url, or its header is too long")
	}
	header, err := exchange.ParseClaims(head)
	if err != nil {
		return nil, fmt.Errorf("the token's header %w", err)
	}
	s := &signed{}
	var kid string
	for _, m := range header {
		text, ok := m.Raw.Text()
		switch m.Name {
		case "crit", "b64":
			return nil, errors.New("the token's header has " + m.Name + ", which is not supported")
		case "alg", "kid", "typ":
			if !ok || len(text) > 256 {
				return nil, errors.New(m.Name + " in the token's header is not a string, or too long")
			}
		}
		switch m.Name {
		case "alg":
			s.alg = text
		case "kid":
			kid = text
		case "typ":
			s.typ = strings.TrimPrefix(strings.ToLower(text), "application/")
		}
	}
	if !slices.Contains(p.cfg.Algorithms, s.alg) {
		return nil, fmt.Errorf("the token is signed with %.40q, which is not among the issuer's algorithms", s.alg)
	}
	key, err := p.cfg.Keys.Find(ctx, kid, s.alg, true)
	if err != nil {
		return nil, err
	}
	if err := keys.Verify(key, token, s.alg, now, p.cfg.ClockSkew); err != nil {
		return nil, err
	}
	if s.claims, err = exchange.ParseClaims(payload); err != nil {
		return nil, fmt.Errorf("the token's payload %w", err)
	}
	return s, p.meant(s.claims)
}

// meant says whether the token is this issuer's, for this client.
func (p *Party) meant(c exchange.Claims) error {
	if iss, _ := top(c, "iss"); iss != p.cfg.Issuer {
		return fmt.Errorf("iss is %.200q; it must equal the issuer", iss)
	}
	raw, _ := c.Get("aud")
	aud, ok := raw.Texts()
	if !ok || !slices.Contains(aud, p.cfg.ClientID) {
		return fmt.Errorf("aud does not name our client %s", p.cfg.ClientID)
	}
	azp, there := c.Get("azp")
	text, _ := azp.Text()
	if there && text != p.cfg.ClientID || !there && len(aud) > 1 {
		return errors.New("the token was given to another client (azp), or to several without saying which")
	}
	for _, name := range []string{"exp", "iat", "nbf"} {
		raw, there := c.Get(name)
		if _, ok := raw.Seconds(); there && !ok || !there && name != "nbf" {
			return fmt.Errorf("%s is missing, or no whole number", name)
		}
	}
	return nil
}

// top returns a member that is a string that says something.
func top(c exchange.Claims, name string) (string, bool) {
	raw, _ := c.Get(name)
	text, ok := raw.Text()
	return text, ok && text != ""
}

// idToken verifies an ID token. nonce is that of the login; "" after a refresh,
// when there need be none. access is the access token beside it.
func (p *Party) idToken(ctx context.Context, token, nonce, access string, since, now time.Time) (*signed, error) {
	s, err := p.verify(ctx, token, now)
	if err != nil {
		return nil, err
	}
	if s.typ != "" && s.typ != "jwt" {
		return nil, fmt.Errorf("typ %.40q is not that of an ID token", s.typ)
	}
	if _, there := s.claims.Get("events"); there {
		return nil, errors.New("events marks a logout token")
	}
	if use, there := s.claims.Get("token_use"); there && use != `"id"` {
		return nil, errors.New("token_use is not id")
	}
	if _, ok := top(s.claims, "sub"); !ok {
		return nil, errors.New("sub is missing, or not a string that says something")
	}
	raw, _ := s.claims.Get("iat")
	if iat, _ := raw.Seconds(); time.Unix(iat, 0).Before(since.Add(-p.cfg.ClockSkew - time.Second)) {
		return nil, errors.New("iat is before the login began")
	}
	given, there := s.claims.Get("nonce")
	text, _ := given.Text()
	if nonce != "" && subtle.ConstantTimeCompare([]byte(text), []byte(nonce)) != 1 {
		return nil, errors.New("nonce is not that of this login")
	}
	if nonce == "" && there && text == "" {
		return nil, errors.New("nonce is no string")
	}
	if hash, there := s.claims.Get("at_hash"); there {
		text, _ := hash.Text()
		if access == "" || text != leftHalf(s.alg, access) {
			return nil, errors.New("at_hash is not that of the access token")
		}
	}
	return s, nil
}

// leftHalf is at_hash of an access token (OpenID Connect Core 1.0 section
// 3.1.3.6).
func leftHalf(alg, access string) string {
	switch {
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(access))
		return encode(h[:len(h)/2])
	case strings.HasSuffix(alg, "512"), alg == "EdDSA": // Ed25519 hashes with SHA-512
		h := sha512.Sum512([]byte(access))
		return encode(h[:len(h)/2])
	}
	h := sha256.Sum256([]byte(access))
	return encode(h[:len(h)/2])
}

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// maxLogoutAge is how old a logout token may be.
const maxLogoutAge = 5 * time.Minute

// logoutToken verifies a logout token (OpenID Connect Back-Channel Logout 1.0
// section 2.6).
func (p *Party) logoutToken(ctx context.Context, token string, now time.Time) (sub, sid, jti string, err error) {
	s, err := p.verify(ctx, token, now)
	if err != nil {
		return "", "", "", err
	}
	events, _ := s.claims.Get("events")
	list, err := exchange.ParseClaims([]byte(events))
	if err != nil {
		return "", "", "", errors.New("events is no object")
	}
	event, _ := list.Get(logoutEvent)
	_, nonce := s.claims.Get("nonce")
	sub, hasSub := top(s.claims, "sub")
	sid, hasSID := top(s.claims, "sid")
	jti, hasJTI := top(s.claims, "jti")
	raw, _ := s.claims.Get("iat")
	iat, _ := raw.Seconds()
	switch {
	case s.typ != "" && s.typ != "jwt" && s.typ != "logout+jwt":
		err = errors.New("typ is not that of a logout token")
	case !strings.HasPrefix(string(event), "{"):
		err = errors.New("events names no back-channel logout")
	case nonce:
		err = errors.New("nonce marks an ID token")
	case !hasJTI || len(jti) > 256:
		err = errors.New("jti is missing, or too long")
	case !hasSub && !hasSID:
		err = errors.New("there is neither sub nor sid")
	case time.Unix(iat, 0).Before(now.Add(-maxLogoutAge - p.cfg.ClockSkew)):
		err = errors.New("the token is older than five minutes")
	}
	for _, name := range []string{"sub", "sid"} { // one that is there says something
		if _, there := s.claims.Get(name); there && err == nil {
			if _, ok := top(s.claims, name); !ok {
				err = errors.New(name + " is not a string that says something")
			}
		}
	}
	return sub, sid, jti, err
}
