package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Holder is a client with a key of its own, to which its tokens are bound.
type Holder struct{ private *ecdsa.PrivateKey }

// NewHolder makes a holder with a fresh key.
func NewHolder(t testing.TB) *Holder {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Holder{private}
}

// Proof makes a DPoP proof (RFC 9449) for a request with a token; "" for one
// without. Each is another, but for what more says.
func (h *Holder) Proof(t testing.TB, method, url, token string, more Claims) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	point, err := h.private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	payload := Claims{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		payload["ath"] = b64(sum[:])
	}
	maps.Copy(payload, more)
	var parts []string
	for _, part := range []Claims{{"typ": "dpop+jwt", "alg": "ES256", "jwk": Claims{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}}, payload} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, b64(text))
	}
	input := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, h.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + b64(signature)
}

// Bound gets an access token for the client that the provider binds to the
// key of the holder. An opaque one says nothing of itself; see Opaque.
func (i *IdP) Bound(t testing.TB, client, scope string, holder *Holder, opaque bool) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
	if opaque {
		form.Set("resource", "urn:orders-opaque")
	}
	req, err := http.NewRequest(http.MethodPost, i.Issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(client, client+"-secret")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("DPoP", holder.Proof(t, http.MethodPost, i.Issuer+"/token", "", nil))
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}
	call(t, req, &answer)
	if answer.TokenType != "DPoP" {
		t.Fatalf("the identity provider gave a token of type %q", answer.TokenType)
	}
	return answer.AccessToken
}
