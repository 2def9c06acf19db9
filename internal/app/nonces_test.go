package app_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

// holder has a key that tokens are bound to, and a clock that is wrong.
type holder struct {
	private ed25519.PrivateKey
	x       string
}

func newHolder(t *testing.T) *holder {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &holder{private, base64.RawURLEncoding.EncodeToString(public)}
}

func (h *holder) cnf() map[string]string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":%q}`, h.x))
	return map[string]string{"jkt": base64.RawURLEncoding.EncodeToString(sum[:])}
}

// call asks for /hello with a proof that has this nonce, if any.
func (h *holder) call(t *testing.T, r *running, token, nonce string) *http.Response {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	claims := golangjwt.MapClaims{
		"jti": rand.Text(), "htm": "GET", "htu": r.url + "/hello", "iat": time.Now().Unix() - 3600, "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	proof := golangjwt.NewWithClaims(golangjwt.SigningMethodEdDSA, claims)
	proof.Header["typ"], proof.Header["jwk"] = "dpop+jwt", map[string]string{"kty": "OKP", "crv": "Ed25519", "x": h.x}
	text, err := proof.SignedString(h.private)
	if err != nil {
		t.Fatal(err)
	}
	resp, _ := r.do(t, request(t, "GET", r.url+"/hello", "Authorization", "DPoP "+token, "DPoP", text))
	return resp
}

// A nonce that one gateway gave out is taken by every other that has its store
// and its keys; a gateway with other keys has nonces of its own.
func TestANonceIsGoodInTheWholeFleet(t *testing.T) {
	t.Parallel()
	for engine, address := range map[string]func(*testing.T) string{
		"SQLite":     func(*testing.T) string { return store.DefaultAddress },
		"PostgreSQL": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			at, one, two := address(t), filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
			file, sign := corp(t)
			config := strings.Replace(fmt.Sprintf(tokened, reflector(t), at, file), ", algorithms", ", tokenBinding: dpop, algorithms", 1)
			first := serveFrom(t, one, "127.0.0.1:0", config, "")
			if engine == "SQLite" {
				two = one
			} else {
				copyKeys(t, one, two)
			}
			second := serveFrom(t, two, "127.0.0.1:0", config, "")
			me := newHolder(t)
			token := sign(golangjwt.MapClaims{"sub": "alice", "client_id": "mobile", "cnf": me.cnf()})
			eventually(t, func() bool {
				resp := me.call(t, first, token, "")
				nonce := resp.Header.Get("DPoP-Nonce")
				if resp.StatusCode != 401 || nonce == "" {
					t.Fatalf("without a nonce: %d, nonce %q\n%s", resp.StatusCode, nonce, first.errors)
				}
				return me.call(t, second, token, nonce).StatusCode == 200 && me.call(t, first, token, nonce).StatusCode == 200
			}, "the nonce of one gateway is refused by the other\n%s\n%s", first.errors, second.errors)
			if engine == "SQLite" {
				return
			}
			stranger := serveFrom(t, filepath.Join(t.TempDir(), "three"), "127.0.0.1:0", config, "")
			eventually(t, func() bool { return strings.Contains(stranger.errors.String(), "nonces are not shared") }, "a gateway with other keys says nothing\n%s", stranger.errors)
			nonce := me.call(t, stranger, token, "").Header.Get("DPoP-Nonce")
			if own, other := me.call(t, stranger, token, nonce).StatusCode, me.call(t, first, token, nonce).StatusCode; own != 200 || other != 401 {
				t.Errorf("with a stranger's nonce: %d there, %d elsewhere", own, other)
			}
		})
	}
}

// copyKeys has the state folder to open what that of from does.
func copyKeys(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keys.kek", "data-keys.sealed"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
