//go:build linux

package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// What every good token says.
const (
	tokenIssuer   = "https://bench.example/"
	tokenAudience = "orders-api"
	tokenScope    = "orders:read"
)

// signer makes RS256 tokens: RFC 7515, RFC 7518 section 3.3.
type signer struct{ key *rsa.PrivateKey }

func newSigner() (*signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &signer{key}, nil
}

// publish writes the public key to dir, for Warder as jwks.json (RFC 7517)
// and for HAProxy as key.pem.
func (s *signer) publish(dir string) error {
	public := &s.key.PublicKey
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench-1",
		"n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes()),
	}}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), set, 0o600); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}

// claims are the payload of a token.
type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	Client   string `json:"client_id"`
	Scope    string `json:"scope"`
	ID       string `json:"jti"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// good returns the claims of the n-th client, good for a day.
func good(n int) claims {
	now := time.Now()
	return claims{
		Issuer: tokenIssuer, Audience: tokenAudience, Scope: "profile " + tokenScope,
		Subject: fmt.Sprintf("user-%05d", n), Client: fmt.Sprintf("client-%05d", n), ID: fmt.Sprintf("bench-token-%05d", n),
		Issued: now.Add(-time.Minute).Unix(), Expires: now.Add(24 * time.Hour).Unix(),
	}
}

func (s *signer) token(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	input := encode([]byte(`{"alg":"RS256","kid":"bench-1","typ":"JWT"}`)) + "." + encode(payload)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return input + "." + encode(signature), nil
}

// tokens returns n good tokens, each of another client.
func (s *signer) tokens(n int) ([]string, error) {
	all, errs := make([]string, n), make([]error, n)
	var wait sync.WaitGroup
	workers := runtime.NumCPU()
	for w := range workers {
		wait.Go(func() {
			for i := w; i < n; i += workers {
				all[i], errs[i] = s.token(good(i))
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// refusable is a credential, or none, that a proxy which checks must refuse.
type refusable struct {
	what   string
	field  string // empty: none
	status []int  // any of them
}

// bad returns what must be refused. The first has a signature by another key.
func (s *signer) bad() ([]refusable, error) {
	stranger, err := newSigner()
	if err != nil {
		return nil, err
	}
	expired, other, scopeless := good(0), good(0), good(0)
	expired.Expires = time.Now().Add(-time.Hour).Unix()
	other.Audience = "billing-api"
	scopeless.Scope = "profile"
	all := []refusable{}
	for _, t := range []struct {
		refusable
		by *signer
		c  claims
	}{
		{refusable{what: "signature of another key", status: []int{401}}, stranger, good(0)},
		{refusable{what: "expired", status: []int{401}}, s, expired},
		{refusable{what: "other audience", status: []int{401, 403}}, s, other},
		{refusable{what: "scope missing", status: []int{403}}, s, scopeless},
	} {
		token, err := t.by.token(t.c)
		if err != nil {
			return nil, err
		}
		t.field = "Authorization: Bearer " + token
		all = append(all, t.refusable)
	}
	return append(all, refusable{what: "no token", status: []int{401}}), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
