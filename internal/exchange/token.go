package exchange

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Mark tells one thing that can be revoked from all others: 128 bits of a
// SHA-256. The zero Mark is of nothing.
type Mark [16]byte

// MarkOf returns the mark of what is named by these texts, in this order. The
// first says what kind of thing it is.
func MarkOf(texts ...string) (m Mark) {
	var room [256]byte
	b := room[:0]
	for _, text := range texts {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	sum := sha256.Sum256(b)
	copy(m[:], sum[:])
	return m
}

// The kinds of what tokens and sessions are revoked by, for MarkOf, and what
// names each.
const (
	RevokedToken    = "token"    // TokenDigest, 32 bytes
	RevokedID       = "jti"      // issuer (iss), jti
	RevokedSubject  = "subject"  // issuer, sub
	RevokedConsumer = "consumer" // Identity.Consumer
	RevokedIssuer   = "issuer"   // issuer
	RevokedAll      = "all"
)

// Token is what a token, or the session of a browser, may be revoked by. It
// never changes. The zero Token is revoked only with all others.
type Token struct {
	Itself  Mark
	ID      Mark // zero: it has no jti
	Subject Mark // zero: it has no sub
	Issuer  Mark
	Client  Mark  // of the consumer as it is printed where none of the configuration claims it: a name that it gets later undoes nothing
	Since   int64 // Unix milliseconds: what is revoked until then or later is revoked of it; 0: until whenever
}

// TokenDigest names a token by a SHA-256: of a signed one (RFC 7515 section 7.1)
// of what was signed, of any other of all of it. Whoever holds a token that was
// signed by ECDSA can write another signature that holds as well: it is the
// same token.
func TokenDigest(token []byte) [sha256.Size]byte {
	if bytes.Count(token, []byte{'.'}) == 2 {
		header := make([]byte, base64.RawURLEncoding.DecodedLen(len(token)))
		n, err := base64.RawURLEncoding.Decode(header, token[:bytes.IndexByte(token, '.')])
		if err == nil && bytes.HasPrefix(bytes.TrimLeft(header[:n], " \t\r\n"), []byte{'{'}) {
			token = token[:bytes.LastIndexByte(token, '.')]
		}
	}
	return sha256.Sum256(token)
}

// NewToken returns what a token of an issuer is revoked by. digest is its
// TokenDigest; issued is its iat in Unix seconds, 0 if it does not say,
// and skew by how many seconds the issuer's clock may differ: who was issued at
// about the moment of a revocation is revoked.
func NewToken(digest [sha256.Size]byte, issuer, id, subject string, issued, skew int64) Token {
	t := named(issuer, id, subject)
	t.Itself = MarkOf(RevokedToken, string(digest[:]))
	if issued != 0 {
		t.Since = (issued - skew) * 1000
	}
	return t
}

// sessionGrace is by how much the clocks of gateways, and of who revokes, may
// differ, in milliseconds. More would send a browser that logs in again back to
// the login once more, and again.
const sessionGrace = 1000

// NewSession returns what a session is revoked by: all that a token of its
// issuer is, but for the token itself. began is when its login ended, in Unix
// milliseconds: refreshes make no session younger.
func NewSession(issuer, id, subject string, began int64) Token {
	t := named(issuer, id, subject)
	t.Since = began - sessionGrace
	return t
}

func named(issuer, id, subject string) Token {
	t := Token{Issuer: MarkOf(RevokedIssuer, issuer)}
	if id != "" {
		t.ID = MarkOf(RevokedID, issuer, id)
	}
	if subject != "" {
		t.Subject = MarkOf(RevokedSubject, issuer, subject)
	}
	return t
}
