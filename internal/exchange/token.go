package exchange

import (
	"crypto/sha256"
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

// The kinds of what tokens are revoked by, for MarkOf, and what names each.
const (
	RevokedToken    = "token"    // SHA-256 of the token, 32 bytes
	RevokedID       = "jti"      // issuer (iss), jti
	RevokedSubject  = "subject"  // issuer, sub
	RevokedConsumer = "consumer" // Identity.Consumer
	RevokedIssuer   = "issuer"   // issuer
	RevokedAll      = "all"
)

// Token is what a token may be revoked by. It never changes.
type Token struct {
	Itself  Mark
	ID      Mark // zero: it has no jti
	Subject Mark // zero: it has no sub
	Issuer  Mark
	Issued  int64 // iat, Unix seconds; 0: it does not say
	Skew    int64 // by how many seconds the issuer's clock may differ
}

// NewToken returns what a token of an issuer is revoked by. digest is the
// SHA-256 of all of it.
func NewToken(digest [sha256.Size]byte, issuer, id, subject string, issued, skew int64) Token {
	t := Token{Itself: MarkOf(RevokedToken, string(digest[:])), Issuer: MarkOf(RevokedIssuer, issuer), Issued: issued, Skew: skew}
	if id != "" {
		t.ID = MarkOf(RevokedID, issuer, id)
	}
	if subject != "" {
		t.Subject = MarkOf(RevokedSubject, issuer, subject)
	}
	return t
}
