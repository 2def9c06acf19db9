package authserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// accessTokenType is the typ of an access token (RFC 9068 section 2.1).
const accessTokenType = "at+jwt"

// accessToken are the claims of RFC 9068 section 2.2.
type accessToken struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
	ID       string   `json:"jti"`
	Client   string   `json:"client_id"`
	Scope    string   `json:"scope,omitempty"`
}

// audience is one string, or a list of several (RFC 7519 section 4.1.3).
type audience []string

func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// issue makes the access token of a grant and the response that carries it.
func (s *Server) issue(ctx context.Context, subject, clientID string, aud, scopes []string) (*tokenResponse, error) {
	now := s.now()
	lifetime := int64(s.lifetime / time.Second)
	scope := strings.Join(scopes, " ")
	token, err := s.signer.Sign(ctx, accessToken{
		Issuer:   s.issuer,
		Subject:  subject,
		Audience: aud,
		Expires:  now.Unix() + lifetime,
		Issued:   now.Unix(),
		ID:       rand.Text(), // 130 bits
		Client:   clientID,
		Scope:    scope,
	}, accessTokenType)
	if err != nil {
		return nil, fmt.Errorf("sign the access token: %w", err)
	}
	return &tokenResponse{AccessToken: token, TokenType: "Bearer", ExpiresIn: lifetime, Scope: scope}, nil
}
