package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/secret"
)

// Ways to prove to an authorization server which client we are.
const (
	ClientSecretBasic = "clientSecretBasic" // RFC 6749 section 2.3.1
	ClientSecretPost  = "clientSecretPost"  // RFC 6749 section 2.3.1, in the body
	PrivateKeyJWT     = "privateKeyJwt"     // RFC 7523 section 2.2
	TLSClient         = "tlsClient"         // RFC 8705 section 2
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLife = time.Minute
)

// ClientAuthConfig says as which client we come and what proves it: of Secret,
// Key and Pair the one that Method takes.
type ClientAuthConfig struct {
	Method string // one of the constants
	ID     string
	Secret secret.Value
	Key    []byte          // a private key in PEM
	Pair   tls.Certificate // shown in the handshake
	Issuer string          // the audience of what is signed with Key
}

// ClientAuth is what proves to an authorization server, at any of its
// endpoints, which client we are. Immutable; safe for concurrent use. The zero
// ClientAuth proves nothing.
type ClientAuth struct {
	cfg    ClientAuthConfig
	signer crypto.Signer
	method jwt.SigningMethod // of signer
}

// NewClientAuth says why a proof cannot be given.
func NewClientAuth(cfg ClientAuthConfig) (*ClientAuth, error) {
	c := &ClientAuth{cfg: cfg}
	if cfg.ID == "" {
		return nil, errors.New("the client has no id")
	}
	switch cfg.Method {
	case ClientSecretBasic, ClientSecretPost:
		if cfg.Secret.IsZero() {
			return nil, errors.New("the client has no secret")
		}
	case PrivateKeyJWT:
		if cfg.Issuer == "" {
			return nil, errors.New("there is no issuer to sign for")
		}
		var err error
		if c.signer, c.method, err = parsePrivateKey(cfg.Key); err != nil {
			return nil, err
		}
	case TLSClient:
		if len(cfg.Pair.Certificate) == 0 {
			return nil, errors.New("the client has no certificate")
		}
	default:
		return nil, fmt.Errorf("%.40q is no way to prove a client", cfg.Method)
	}
	return c, nil
}

// Prove adds the proof to a request that is about to be sent: to its header or
// to its form. What it adds is good for a minute, and for one request.
func (c *ClientAuth) Prove(h http.Header, form url.Values, now time.Time) error {
	switch c.cfg.Method {
	case ClientSecretBasic:
		// Both are form-encoded first, so that a colon in the id is none.
		pair := url.QueryEscape(c.cfg.ID) + ":" + url.QueryEscape(string(c.cfg.Secret.Reveal()))
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case ClientSecretPost:
		form.Set("client_id", c.cfg.ID)
		form.Set("client_secret", string(c.cfg.Secret.Reveal()))
	case PrivateKeyJWT:
		assertion, err := jwt.NewWithClaims(c.method, jwt.MapClaims{
			"iss": c.cfg.ID, "sub": c.cfg.ID, "aud": c.cfg.Issuer, "jti": rand.Text(),
			"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
		}).SignedString(c.signer)
		if err != nil {
			return fmt.Errorf("the client's assertion could not be signed: %w", err)
		}
		form.Set("client_id", c.cfg.ID)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	case TLSClient:
		form.Set("client_id", c.cfg.ID)
	default:
		return errors.New("there is nothing to prove the client by")
	}
	return nil
}

// certificates are what is shown in a handshake.
func (c *ClientAuth) certificates() []tls.Certificate {
	if c.cfg.Method != TLSClient {
		return nil
	}
	return []tls.Certificate{c.cfg.Pair}
}

// parsePrivateKey reads one private key in PEM (PKCS #8, PKCS #1 or SEC 1) and
// says which algorithm it signs with: the key decides, nobody else.
func parsePrivateKey(file []byte) (crypto.Signer, jwt.SigningMethod, error) {
	block, _ := pem.Decode(file)
	if block == nil {
		return nil, nil, errors.New("holds no private key in PEM form")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, nil, fmt.Errorf("holds a block of type %.40q, not a private key that is not encrypted", block.Type)
	}
	if err != nil {
		return nil, nil, errors.New("holds a private key that cannot be read")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, nil, fmt.Errorf("holds an RSA key of %d bits; from %d to %d are accepted", bits, minRSA, maxRSA)
		}
		return key, jwt.SigningMethodRS256, nil
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			return key, jwt.SigningMethodES256, nil
		case elliptic.P384():
			return key, jwt.SigningMethodES384, nil
		case elliptic.P521():
			return key, jwt.SigningMethodES512, nil
		}
	case ed25519.PrivateKey:
		return key, jwt.SigningMethodEdDSA, nil
	}
	return nil, nil, errors.New("holds a private key of a kind that is not supported; RSA, P-256, P-384, P-521 and Ed25519 are")
}
