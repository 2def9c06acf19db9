// Package tokens is what the policies that take access tokens have in common:
// how a token comes with a request, what its issuer's rules are, and what its
// claims mean. Who vouches for a token is each policy's own: the issuer's keys,
// or the issuer when it is asked.
package tokens

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/pipeline"
)

const maxSkew = 60 * time.Second

// Kinds of token that an issuer's rules may ask for.
const (
	TypeAccess = "access" // told from other tokens by all rules
	TypeHeader = "at+jwt" // told by the header alone (RFC 9068)
	TypeAny    = "any"    // not told at all
)

// ConsumerClaims name the calling application where an issuer says nothing
// else. Not to be changed.
var ConsumerClaims = []string{"azp", "client_id", "cid", "appid"}

// Rules are an issuer's rules for access tokens, made ready. Immutable.
type Rules struct {
	pipeline.Issuer
	ID   [16]byte // digest of all of Issuer that may count for what is concluded of a token
	Skew int64    // seconds
	Want string   // the audiences or client ids that are accepted
}

// Compile makes an issuer's rules ready: they say for whom tokens must be made.
func Compile(written *pipeline.Issuer) (Rules, error) {
	r := Rules{Issuer: *written, Skew: int64(written.ClockSkew / time.Second)}
	switch {
	case r.URL == "":
		return Rules{}, errors.New("has no URL that iss could equal")
	case len(r.Audience) == 0 && len(r.ClientIDs) == 0:
		return Rules{}, errors.New("says neither audience nor clientIds: tokens for any API would be accepted")
	case slices.Contains(r.Audience, "") || slices.Contains(r.ClientIDs, ""):
		return Rules{}, errors.New("has an empty audience or client id")
	case written.ClockSkew < 0 || written.ClockSkew > maxSkew:
		return Rules{}, fmt.Errorf("has a clock skew of %v; 0s to %v are allowed", written.ClockSkew, maxSkew)
	}
	switch r.TokenType {
	case "":
		r.TokenType = TypeAccess
	case TypeAccess, TypeHeader, TypeAny:
	default:
		return Rules{}, fmt.Errorf("has tokenType %q; access, at+jwt and any are known", r.TokenType)
	}
	if len(r.Consumer) == 0 {
		r.Consumer = ConsumerClaims
	}
	if len(r.Subject) == 0 {
		r.Subject = []string{"sub"}
	}
	r.Want = strings.Join(r.Audience, " or ")
	if len(r.ClientIDs) > 0 {
		r.Want = strings.TrimPrefix(r.Want+" and client "+strings.Join(r.ClientIDs, " or "), " and ")
	}
	r.ID = digest(&r.Issuer)
	return r, nil
}

// digest tells the rules of issuers apart. Every list is preceded by its
// length and every text by its own, so that no two issuers are written alike.
func digest(iss *pipeline.Issuer) (sum [16]byte) {
	var b []byte
	var tenants []string
	for _, t := range iss.Tenants {
		tenants = append(tenants, t.URL, t.ID)
	}
	for _, list := range [][]string{{iss.Name, iss.URL, iss.TokenType}, iss.Audience, iss.ClientIDs, iss.Algorithms, iss.Consumer, iss.Subject, iss.Roles, tenants} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	b = binary.AppendVarint(b, int64(iss.ClockSkew))
	whole := sha256.Sum256(b)
	copy(sum[:], whole[:])
	return sum
}
