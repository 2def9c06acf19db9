// Package e2e tries the built binary as its users have it: with a real
// identity provider, real backends and real clients, over real sockets.
package e2e

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// nineLines is the configuration that the documentation begins with; only its
// addresses are made real.
func nineLines(issuer string, backends ...*harness.Backend) string {
	return fmt.Sprintf(`issuers: { corp: { issuer: %q, audience: orders-api } }
upstreams:
  orders: [%s]
routes:
  - path: /orders/**
    methods: [GET]
    upstream: orders
    auth: { jwt: corp, scopes: [orders:read] }
    rateLimit: 100/min per consumer`, issuer, targets(backends))
}

// unlimited is the same without the limit, for load.
func unlimited(issuer string, backends ...*harness.Backend) string {
	return strings.TrimSuffix(nineLines(issuer, backends...), "\n    rateLimit: 100/min per consumer")
}

func targets(backends []*harness.Backend) string {
	var urls []string
	for _, b := range backends {
		urls = append(urls, b.URL)
	}
	return strings.Join(urls, ", ")
}

func bearer(token string) []string { return []string{"-H", "Authorization: Bearer " + token} }

func base64JSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64Text(string(text))
}

func base64Text(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// strangersKey is a good key that no issuer published.
var strangersKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// forge signs a token with the stranger's key.
func forge(t testing.TB, header, claims harness.Claims) string {
	t.Helper()
	key, err := strangersKey()
	if err != nil {
		t.Fatal(err)
	}
	input := base64JSON(t, header) + "." + base64JSON(t, claims)
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// confuse makes a token whose HMAC secret is the issuer's public key, which a
// verifier takes for good if it lets the token choose the algorithm.
func confuse(t testing.TB, key map[string]string, claims harness.Claims) string {
	t.Helper()
	n, err := base64.RawURLEncoding.DecodeString(key["n"])
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	input := base64JSON(t, harness.Claims{"alg": "HS256", "typ": "at+jwt", "kid": key["kid"]}) + "." + base64JSON(t, claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// with returns a copy of the claims with one member set, or removed if the
// value is nil.
func with(c harness.Claims, name string, value any) harness.Claims {
	copied := harness.Claims{}
	for n, v := range c {
		copied[n] = v
	}
	copied[name] = value
	if value == nil {
		delete(copied, name)
	}
	return copied
}

// load is steady traffic whose every answer must be a 200.
type load struct {
	token atomic.Pointer[string]
	done  atomic.Int64 // answered well
	stop  func()       // ends the traffic and fails the test for every bad answer
}

// startLoad sends good requests from this many connections at once.
func startLoad(t *testing.T, url, token string, connections int) *load {
	t.Helper()
	l := &load{}
	l.token.Store(&token)
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	over := make(chan struct{})
	var workers sync.WaitGroup
	var bad atomic.Int64
	for range connections {
		workers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := get(client, url, *l.token.Load(), http.StatusOK); err != nil {
					if bad.Add(1) <= 5 {
						t.Errorf("after %d good answers: %v", l.done.Load(), err)
					}
				} else {
					l.done.Add(1)
				}
			}
		})
	}
	l.stop = sync.OnceFunc(func() {
		close(over)
		workers.Wait()
		client.CloseIdleConnections()
		if n := bad.Load(); n > 0 {
			t.Errorf("%d of %d requests failed", n, n+l.done.Load())
		}
	})
	t.Cleanup(l.stop)
	return l
}

// get asks with the token and tells whether the status is one of those wanted
// and the body whole.
func get(client *http.Client, url, token string, want ...int) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	for _, status := range want {
		if res.StatusCode == status {
			return nil
		}
	}
	return fmt.Errorf("status %d, want %v: %s", res.StatusCode, want, body)
}

// atLeast waits until the load has had n more good answers.
func (l *load) atLeast(t testing.TB, n int64) {
	t.Helper()
	want := l.done.Load() + n
	harness.Eventually(t, fmt.Sprintf("%d more good answers", n), func() bool { return l.done.Load() >= want })
}

// until does f every interval until the returned function is called.
func until(interval time.Duration, f func()) (stop func()) {
	over := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				f()
			}
		}
	})
	return sync.OnceFunc(func() { close(over); wait.Wait() })
}
