package jwt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/tokens"
)

// Bounds of a token's header, in bytes.
const (
	maxHeader = 2 << 10 // decoded
	maxKeyID  = 256
)

// form is a token that is well-formed. Nothing in it may be believed yet.
type form struct {
	token  string
	alg    string
	kid    string // "" if the header names none
	typ    string
	typed  bool // the header has a typ
	claims exchange.Claims
}

// parse reads a JWS in compact form (RFC 7515 section 7.1) with a JSON object
// as its payload. Of the header only alg, kid and typ are read; keys that a
// token brings along (jwk, jku, x5c, x5u) are of no account. Extensions that
// must be understood (crit, RFC 7515 section 4.1.11) are not understood, and
// an unencoded payload (b64, RFC 7797) is not decoded.
func parse(token []byte) (*form, error) {
	f := &form{token: string(token)}
	payload, err := f.split(token)
	if err != nil {
		return nil, err
	}
	if f.claims, err = exchange.ParseClaims(payload); err != nil {
		return nil, fmt.Errorf("the token's payload %w", err)
	}
	return f, nil
}

// split takes token, of bounded length, apart and reads its header.
func (f *form) split(token []byte) (payload []byte, err error) {
	first := bytes.IndexByte(token, '.')
	last := bytes.LastIndexByte(token, '.')
	if bytes.Count(token, []byte{'.'}) != 2 {
		return nil, opaque("the token does not have three parts")
	}
	head, err := decode("header", token[:first])
	if err != nil {
		return nil, err
	}
	if payload, err = decode("payload", token[first+1:last]); err != nil {
		return nil, err
	}
	if _, err = decode("signature", token[last+1:]); err != nil {
		return nil, err
	}
	if len(head) > maxHeader {
		return nil, fmt.Errorf("the token's header is longer than %d bytes", maxHeader)
	}
	header, err := exchange.ParseClaims(head)
	if err != nil {
		return nil, fmt.Errorf("the token's header %w", err)
	}
	return payload, f.readHeader(header)
}

func (f *form) readHeader(header exchange.Claims) error {
	for i := range header {
		var to *string
		switch header[i].Name {
		case "alg":
			to = &f.alg
		case "kid":
			to = &f.kid
		case "typ":
			to, f.typed = &f.typ, true
		case "crit", "b64":
			return fmt.Errorf("the token's header has %s, which is not supported", header[i].Name)
		default:
			continue
		}
		text, ok := header[i].Raw.Text()
		if !ok {
			return fmt.Errorf("%s in the token's header is not a string", header[i].Name)
		}
		*to = text
	}
	switch {
	case f.alg == "":
		return errors.New("the token's header has no alg")
	case len(f.kid) > maxKeyID:
		return fmt.Errorf("kid in the token's header is longer than %d bytes", maxKeyID)
	}
	return nil
}

// decode reads base64url without padding; the last bits that stand for
// nothing are zero, so that a token has one spelling only.
func decode(what string, part []byte) ([]byte, error) {
	b := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
	n, err := base64.RawURLEncoding.Strict().Decode(b, part)
	if err != nil || !tokens.Base64URL(part) { // line ends are passed over
		return nil, opaque("the token's " + what + " is not base64url")
	}
	return b[:n], nil
}

// opaque is why a token is not three parts of base64url.
type opaque string

func (o opaque) Error() string { return string(o) }
