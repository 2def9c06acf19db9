package binding

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
)

// Bounds of a proof.
const (
	maxProof = 4 << 10 // bytes of the field
	maxJTI   = 128     // bytes
)

// window is how far a proof's iat may lie from our time, either way.
const window = time.Minute

// apart is how far the clocks of a fleet may lie apart: a proof is remembered
// for that much longer than it holds.
const apart = 15 * time.Second

// proof is a DPoP proof that is well-formed (RFC 9449 section 4.2). Nothing in
// it may be believed before its signature was found to be its key's.
type proof struct {
	input     string // that was signed
	signature []byte
	alg       string
	shown     *shownKey

	jti, htm, htu, ath, nonce string
	asked                     bool // there is a nonce
	iat                       int64
}

// shownKey is a public key as a proof showed it. Immutable.
type shownKey struct {
	jwk        exchange.JSON
	key        *keys.Key
	thumbprint keys.Thumbprint
}

// parseProof reads the value of a DPoP field: a JWS in compact form, as
// strictly as a token is read. The key is known, if it is written like that.
func parseProof(value []byte, known *shownKey) (*proof, error) {
	if len(value) > maxProof {
		return nil, errors.New("the DPoP field is longer than 4 KiB")
	}
	text := string(value)
	first, last := strings.IndexByte(text, '.'), strings.LastIndexByte(text, '.')
	if strings.Count(text, ".") != 2 {
		return nil, errors.New("the proof does not have three parts")
	}
	f := &proof{input: text[:last]}
	head, err := object("header", text[:first])
	if err != nil {
		return nil, err
	}
	claims, err := object("payload", text[first+1:last])
	if err != nil {
		return nil, err
	}
	if f.signature, err = decode("signature", text[last+1:]); err != nil {
		return nil, err
	}
	if err = f.readHeader(head, known); err != nil {
		return nil, err
	}
	return f, f.readClaims(claims)
}

func (f *proof) readHeader(head exchange.Claims, known *shownKey) error {
	for _, name := range [...]string{"crit", "b64"} {
		if _, ok := head.Get(name); ok {
			return fmt.Errorf("the proof's header has %s, which is not supported", name)
		}
	}
	var typ string
	if err := texts(head, member{"typ", &typ}, member{"alg", &f.alg}); err != nil {
		return err
	}
	if typ != "dpop+jwt" {
		return errors.New("the proof's typ is not dpop+jwt")
	}
	if !listed(f.alg) {
		return errors.New("the proof's alg is not one of " + Algorithms)
	}
	raw, ok := head.Get("jwk")
	if !ok {
		return errors.New("the proof's header has no jwk")
	}
	if f.shown = known; known == nil || known.jwk != raw {
		var err error
		if f.shown, err = parseShown(raw); err != nil {
			return err
		}
	}
	if !f.shown.key.Fits(f.alg) {
		return errors.New("the proof's jwk is not a key for its alg")
	}
	return nil
}

func parseShown(raw exchange.JSON) (*shownKey, error) {
	jwk, err := exchange.ParseClaims([]byte(raw))
	if err != nil {
		return nil, fmt.Errorf("the proof's jwk %w", err)
	}
	s := &shownKey{jwk: raw}
	if s.key, s.thumbprint, err = keys.ParsePresented(jwk); err != nil {
		return nil, fmt.Errorf("the proof's jwk cannot be used: %w", err)
	}
	return s, nil
}

// listed reports whether alg is one of Algorithms.
func listed(alg string) bool {
	for one := range strings.FieldsSeq(Algorithms) {
		if one == alg {
			return true
		}
	}
	return false
}

func (f *proof) readClaims(claims exchange.Claims) error {
	err := texts(claims, member{"jti", &f.jti}, member{"htm", &f.htm}, member{"htu", &f.htu}, member{"ath", &f.ath})
	if err != nil {
		return err
	}
	if len(f.jti) > maxJTI {
		return fmt.Errorf("the proof's jti is longer than %d bytes", maxJTI)
	}
	raw, ok := claims.Get("iat")
	if !ok {
		return errors.New("the proof has no iat")
	}
	if f.iat, ok = raw.Seconds(); !ok {
		return errors.New("the proof's iat is not an integer from 0 to 2^53")
	}
	if raw, ok = claims.Get("nonce"); ok {
		if f.nonce, f.asked = raw.Text(); !f.asked {
			return errors.New("the proof's nonce is not a string")
		}
	}
	return nil
}

// member is a string that has to be there, and not be empty.
type member struct {
	name string
	to   *string
}

func texts(c exchange.Claims, members ...member) error {
	for _, m := range members {
		raw, _ := c.Get(m.name)
		text, _ := raw.Text()
		if text == "" {
			return fmt.Errorf("the proof's %s is not there, or is not a string", m.name)
		}
		*m.to = text
	}
	return nil
}

// object reads a part that is a JSON object.
func object(what, part string) (exchange.Claims, error) {
	var room [maxProof]byte // on the stack
	b, err := decodeTo(room[:0], what, part)
	if err != nil {
		return nil, err
	}
	c, err := exchange.ParseClaims(b)
	if err != nil {
		return nil, fmt.Errorf("the proof's %s %w", what, err)
	}
	return c, nil
}

var strict = base64.RawURLEncoding.Strict()

// decode reads base64url without padding, in its one spelling.
func decode(what, part string) ([]byte, error) {
	return decodeTo(nil, what, part)
}

func decodeTo(room []byte, what, part string) ([]byte, error) {
	b, err := strict.AppendDecode(room, []byte(part))
	if err != nil || strings.ContainsAny(part, "\r\n") { // which the decoder skips
		return nil, fmt.Errorf("the proof's %s is not base64url", what)
	}
	return b, nil
}

// about says why the proof is not one for this request with this token.
func (f *proof) about(x *exchange.Exchange, token []byte) string {
	sum := sha256.Sum256(token)
	var ath [43]byte
	base64.RawURLEncoding.Encode(ath[:], sum[:])
	switch {
	case f.htm != string(x.Req.Method):
		return "the proof is for another method (htm)"
	case f.ath != string(ath[:]):
		return "the proof is for another token (ath)"
	}
	scheme, authority := external(x)
	if !sameTarget(f.htu, scheme, authority, x.Req.Path) {
		x.Trail.Saw("have", shown(f.htu))
		x.Trail.Saw("want", scheme+"://"+authority+string(x.Req.Path))
		return "the proof is for another URI (htu)"
	}
	return ""
}

// shown is what an operator may read of a htu: nothing that could be a secret.
func shown(htu string) string {
	if end := strings.IndexAny(htu, "?#"); end >= 0 {
		htu = htu[:end]
	}
	if at := strings.LastIndexByte(htu, '@'); at >= 0 {
		htu = "…" + htu[at:]
	}
	return fmt.Sprintf("%.200s", htu)
}

// timely says why the proof is of another time than now, or until when it has
// to be remembered. A proof is of now by its iat or, if the caller's clock is
// wrong, by a nonce of ours.
func (f *proof) timely(x *exchange.Exchange, p *Presented) (until time.Time, code fault.Code, reason string) {
	issued := time.Unix(f.iat, 0)
	if f.asked {
		until, current := p.Nonces.holds(f.nonce, p.Now)
		if until.IsZero() {
			return until, p.Nonces.demand(x, p.Now), "the proof's nonce is none that holds now"
		}
		if !current {
			p.Nonces.offer(x, p.Now)
		}
		return until.Add(apart), fault.None, ""
	}
	if off := p.Now.Sub(issued); off > window || off < -window {
		return until, p.Nonces.demand(x, p.Now), "the proof was made (iat) " + span(p.Now.Unix()-f.iat) + ", and has no nonce"
	}
	return issued.Add(window + apart), fault.None, ""
}

// span says how long ago something was, for people.
func span(seconds int64) string {
	const year = 365 * 24 * 3600
	switch {
	case seconds > year:
		return "more than a year ago"
	case seconds < -year:
		return "more than a year ahead of our clock"
	case seconds < 0:
		return (time.Duration(-seconds) * time.Second).String() + " ahead of our clock"
	}
	return (time.Duration(seconds) * time.Second).String() + " ago"
}
