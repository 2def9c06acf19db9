package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/go-jose/go-jose/v4"
)

// Signer is one private key, wherever it is: in this process, or in a key
// management service. Safe for concurrent use; each Sign may be a round trip.
type Signer interface {
	// Key returns the public half. Its ID is its thumbprint (RFC 7638), and its
	// Algorithm is the one that Sign uses. It is the same at every call.
	Key() *Key
	// Sign returns the JWS signature of input (RFC 7515 section 5.1 step 5).
	// Errors are ErrKeyGone, ErrUnavailable, or of the context.
	Sign(ctx context.Context, input []byte) ([]byte, error)
}

// localSigner is a P-256 key in this process.
type localSigner struct {
	private *ecdsa.PrivateKey
	public  *Key
}

// signerAlgorithm is the one algorithm our own keys sign with (RFC 7518
// section 3.4).
const signerAlgorithm = jose.ES256

// NewLocalSigner makes a key that lives in this process only.
func NewLocalSigner() (Signer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newLocalSigner(private)
}

func newLocalSigner(private *ecdsa.PrivateKey) (*localSigner, error) {
	public := jose.JSONWebKey{Key: private.Public()}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	key, err := NewKey(base64.RawURLEncoding.EncodeToString(thumbprint), string(signerAlgorithm), private.Public())
	if err != nil {
		return nil, err
	}
	return &localSigner{private, key}, nil
}

// Key implements Signer.
func (s *localSigner) Key() *Key { return s.public }

// Sign implements Signer: r and s, each of 32 bytes (RFC 7518 section 3.4).
func (s *localSigner) Sign(ctx context.Context, input []byte) ([]byte, error) {
	digest := sha256.Sum256(input)
	r, t, err := ecdsa.Sign(rand.Reader, s.private, digest[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	t.FillBytes(signature[32:])
	return signature, nil
}

// OpenSigner returns the signer whose key is in storage under name, sealed by w.
// If there is none a key is made and stored first; of several processes that
// start at once one makes the key and all use it. What cannot be unsealed is an
// error: it is never repaired and never replaced by a new key.
func OpenSigner(ctx context.Context, w Wrapper, s Storage, name string) (Signer, error) {
	signer, err := openSigner(ctx, w, s, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createSigner(ctx, w, s, name); err == nil || errors.Is(err, fs.ErrExist) {
			signer, err = openSigner(ctx, w, s, name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", name, err)
	}
	return signer, nil
}

func signerBinding(name string) Binding { return Binding{Purpose: "signing-key", Record: name} }

func openSigner(ctx context.Context, w Wrapper, s Storage, name string) (Signer, error) {
	sealed, err := s.Load(ctx, name)
	if err != nil {
		return nil, err
	}
	der, err := w.Unseal(ctx, signerBinding(name), sealed)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("what was sealed is not a P-256 key in PKCS #8 form")
	}
	// Sealed with the newest key from now on. Who has changed it meanwhile has
	// done the same.
	fresh, err := w.Rewrap(ctx, signerBinding(name), sealed)
	if err == nil && string(fresh) != string(sealed) {
		err = s.Swap(ctx, name, sealed, fresh)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return newLocalSigner(private)
}

func createSigner(ctx context.Context, w Wrapper, s Storage, name string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	defer clear(der)
	sealed, err := w.Seal(ctx, signerBinding(name), der)
	if err != nil {
		return err
	}
	return s.Swap(ctx, name, nil, sealed)
}

// TokenSigner signs what Warder itself issues. It is immutable and safe for
// concurrent use. The zero TokenSigner signs nothing.
type TokenSigner struct {
	// ring[0] signs. Keys behind it no longer sign but stay published until
	// the last token they signed has expired.
	ring []Signer
	jwks []byte
}

// NewTokenSigner makes a TokenSigner of a ring of keys, the one that signs
// first.
func NewTokenSigner(ring ...Signer) (*TokenSigner, error) {
	var set jose.JSONWebKeySet
	for _, s := range ring {
		key := s.Key()
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public, KeyID: key.ID, Algorithm: key.Algorithm, Use: "sig"})
	}
	jwks, err := json.Marshal(set)
	return &TokenSigner{ring: ring, jwks: jwks}, err
}

// Sign returns claims, marshalled as JSON, as a JWS in compact form
// (RFC 7515). typ becomes the header's typ and says what kind of token it is
// (RFC 8725 section 3.11). Errors may be those of a Signer.
func (t *TokenSigner) Sign(ctx context.Context, claims any, typ string) (string, error) {
	if len(t.ring) == 0 {
		return "", errors.New("the signer has no key")
	}
	key := t.ring[0].Key()
	head, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}{key.Algorithm, key.ID, typ})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := t.ring[0].Sign(ctx, []byte(input))
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// PublicJWKS returns the public keys as a JWK Set (RFC 7517), the one that
// signs first. The caller must not change it.
func (t *TokenSigner) PublicJWKS() []byte { return t.jwks }

// Keys returns the public keys, the one that signs first. With them this process
// verifies its own tokens without asking itself over the network. They are the
// same keys at every call.
func (t *TokenSigner) Keys() []*Key {
	keys := make([]*Key, len(t.ring))
	for i, s := range t.ring {
		keys[i] = s.Key()
	}
	return keys
}
