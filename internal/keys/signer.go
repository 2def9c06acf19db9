package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"
)

// signerAlgorithm is the one algorithm our own keys sign with (RFC 7518
// section 3.4).
const signerAlgorithm = jose.ES256

// maxSignerFile bounds the file of a signing key, in bytes; one P-256 key
// takes about 250.
const maxSignerFile = 16 << 10

// Signer signs what Warder itself issues. Its key lives in a file and never
// leaves the process. A Signer is immutable and safe for concurrent use. The
// zero Signer signs nothing.
type Signer struct {
	// ring[0] signs. Keys behind it no longer sign but stay published until
	// the last token they signed has expired.
	ring []localKey
	jwks []byte
}

type localKey struct {
	private *ecdsa.PrivateKey
	public  *Key
}

// OpenSigner returns the signer whose key is in the PEM file at path, in
// PKCS #8 form on the curve P-256. If there is no such file a key is made and
// stored there first, readable by its owner only; of several processes that
// start at once one makes the key and all use it.
//
// A file that anybody but its owner may read or write, or that holds anything
// but one key, is refused: it is never repaired and never replaced.
func OpenSigner(path string) (*Signer, error) {
	key, err := readSigningKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createSigningKey(path); err == nil {
			key, err = readSigningKey(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", path, err)
	}
	s, err := newSigner(key)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", path, err)
	}
	return s, nil
}

// newSigner makes a signer of a ring of keys, the one that signs first.
func newSigner(ring ...*ecdsa.PrivateKey) (*Signer, error) {
	s := &Signer{}
	var set jose.JSONWebKeySet
	for _, private := range ring {
		public := jose.JSONWebKey{Key: private.Public(), Algorithm: string(signerAlgorithm), Use: "sig"}
		thumbprint, err := public.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, err
		}
		public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
		set.Keys = append(set.Keys, public)
		key, err := NewKey(public.KeyID, public.Algorithm, public.Key)
		if err != nil {
			return nil, err
		}
		s.ring = append(s.ring, localKey{private, key})
	}
	var err error
	s.jwks, err = json.Marshal(set)
	return s, err
}

// Sign returns claims, marshalled as JSON, as a JWS in compact form
// (RFC 7515). typ becomes the header's typ and says what kind of token it is
// (RFC 8725 section 3.11).
func (s *Signer) Sign(claims any, typ string) (string, error) {
	if len(s.ring) == 0 {
		return "", errors.New("the signer has no key")
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	current := s.ring[0]
	key := jose.SigningKey{
		Algorithm: signerAlgorithm,
		Key:       jose.JSONWebKey{Key: current.private, KeyID: current.public.ID},
	}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", err
	}
	token, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return token.CompactSerialize()
}

// PublicJWKS returns the public keys as a JWK Set (RFC 7517), the one that
// signs first. The caller must not change it.
func (s *Signer) PublicJWKS() []byte { return s.jwks }

// Keys returns the public keys, the one that signs first. A key's ID is its
// thumbprint (RFC 7638). With them this process verifies its own tokens without
// asking itself over the network. They are the same keys at every call.
func (s *Signer) Keys() []*Key {
	keys := make([]*Key, len(s.ring))
	for i, k := range s.ring {
		keys[i] = k.public
	}
	return keys
}

// readSigningKey reads the key at path. Errors do not name the path.
func readSigningKey(path string) (*ecdsa.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	// Asked of the open file: the name could be given to another one meanwhile.
	info, err := f.Stat()
	if err != nil {
		return nil, plain(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others than its owner may use it (mode %04o): "+
			"if nobody can have read it run chmod 600, otherwise remove it so that a new key is made", mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSignerFile+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(data) > maxSignerFile {
		return nil, fmt.Errorf("is longer than %d bytes", maxSignerFile)
	}
	return parseSigningKey(data)
}

// parseSigningKey reads exactly one key. No error quotes the data.
func parseSigningKey(data []byte) (*ecdsa.PrivateKey, error) {
	const want = "; expected one PEM block \"PRIVATE KEY\" with a P-256 key"
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("holds no PEM block" + want)
	}
	if block.Type != "PRIVATE KEY" {
		return nil, errors.New("holds another kind of PEM block" + want)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("holds more than one PEM block" + want)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("its PEM block cannot be read as PKCS #8" + want)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("holds a key of another kind" + want)
	}
	return key, nil
}

// createSigningKey makes a key and stores it at path, whole or not at all. If
// another process stored one first, that one stays.
func createSigningKey(path string) (err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})

	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".signing-key-*") // mode 0600
	if err != nil {
		return plain(err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return plain(err)
	}
	// A link, unlike a rename, never replaces a key that is already there.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return plain(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return plain(err)
	}
	// Without it the name may be lost in a crash, and with it every token's key.
	return errors.Join(d.Sync(), d.Close())
}

// plain takes the path out of an error of package os; OpenSigner names it.
func plain(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
