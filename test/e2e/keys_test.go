package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// An issuer rotates its keys while good traffic runs and strangers send a
// thousand tokens a second, each under another key id. No good request fails,
// the first token under the new key is accepted, a withdrawn key dies, and
// the strangers cannot make the gateway hammer the issuer.
func TestKeyRotationUnderLoad(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	g := harness.Warder(t, unlimited(idp.Issuer, harness.Nginx(t, "a"), harness.Nginx(t, "b")))
	began, fetched := time.Now(), idp.Fetches(t)

	url := g.URL + "/orders/1"
	first := idp.Token(t, "shop", "orders:read")
	good := startLoad(t, url, first, 4)
	good.atLeast(t, 200)

	strangers := flood(t, url, idp.Claims("shop", "orders:read"))
	good.atLeast(t, 200)

	idp.Rotate(t)
	second := idp.Token(t, "shop", "orders:read")
	for _, token := range []string{second, first} {
		if r := harness.Curl(t, append(bearer(token), url)...); r.Status != http.StatusOK {
			t.Errorf("after the rotation a good token is answered %d: %s", r.Status, r.Body)
		}
	}
	good.token.Store(&second)
	good.atLeast(t, 200) // those under way with the first are over

	idp.Retire(t)
	harness.Eventually(t, "a token under the withdrawn key is refused", func() bool {
		return harness.Curl(t, append(bearer(first), url)...).Status == http.StatusUnauthorized
	})
	refused(t, g, refusal{401, "token_key_unknown", "token_invalid", tokenInvalid, nil}, append(bearer(first), url)...)
	good.atLeast(t, 200)

	sent := strangers()
	good.stop()
	if sent < 1000 {
		t.Errorf("the strangers sent %d requests only; the test shows nothing", sent)
	}
	t.Logf("%d good requests, %d of strangers in %v, %d fetches of the key set", good.done.Load(), sent, time.Since(began), idp.Fetches(t)-fetched)
	// Five at once, then one a second; one more for the refresh by the clock.
	allowed := 5 + int(time.Since(began).Seconds()) + 2
	if n := idp.Fetches(t) - fetched; n > allowed {
		t.Errorf("the key set was fetched %d times, want at most %d", n, allowed)
	}
}

// flood sends a thousand requests a second, each with a token under a random
// key id. Each must be refused, as invalid or as not to be told now. The
// returned function ends it and returns how many were answered.
func flood(t *testing.T, url string, claims harness.Claims) (stop func() int64) {
	t.Helper()
	payload := base64JSON(t, claims)
	signature := strings.Repeat("A", 342) // of 2048 bits
	client := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}
	var flying sync.WaitGroup
	var answered, bad atomic.Int64
	halt := until(10*time.Millisecond, func() {
		for range 10 {
			header := fmt.Sprintf(`{"alg":"RS256","typ":"at+jwt","kid":%q}`, rand.Text())
			token := base64Text(header) + "." + payload + "." + signature
			flying.Go(func() {
				err := get(client, url, token, http.StatusUnauthorized, http.StatusServiceUnavailable)
				if err != nil && bad.Add(1) <= 5 {
					t.Errorf("a token under an unknown key: %v", err)
				}
				answered.Add(1)
			})
		}
	})
	end := sync.OnceValue(func() int64 {
		halt()
		flying.Wait()
		client.CloseIdleConnections()
		return answered.Load()
	})
	t.Cleanup(func() { end() })
	return end
}

// An issuer that is down is an outage, never a 401; what is known goes on.
func TestIssuerDown(t *testing.T) {
	idp := harness.StartIdP(t, 0)
	g := harness.Warder(t, nineLines(idp.Issuer, harness.Nginx(t, "a")))
	url := g.URL + "/orders/1"
	good := idp.Token(t, "shop", "orders:read")
	other := idp.Token(t, "batch", "orders:read") // not seen before the outage
	if r := harness.Curl(t, append(bearer(good), url)...); r.Status != http.StatusOK {
		t.Fatalf("status %d: %s", r.Status, r.Body)
	}
	claims := idp.Claims("shop", "orders:read")
	idp.Kill()

	for name, token := range map[string]string{"a token seen before": good, "a token not seen before": other} {
		if r := harness.Curl(t, append(bearer(token), url)...); r.Status != http.StatusOK {
			t.Errorf("%s, under a known key, is answered %d", name, r.Status)
		}
	}
	unknown := forge(t, harness.Claims{"alg": "RS256", "typ": "at+jwt", "kid": "rotated-meanwhile"}, claims)
	refused(t, g, unavailable, append(bearer(unknown), url)...)
	if status := g.Status(t, g.Admin+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz says %d", status)
	}
}

// A gateway that never had the keys starts all the same, says that it cannot
// tell, and serves as soon as the issuer is there.
func TestIssuerNeverSeen(t *testing.T) {
	port := harness.FreePort(t)
	issuer := fmt.Sprintf("http://127.0.0.1:%d", port)
	backend := harness.Nginx(t, "a")
	g := harness.Warder(t, nineLines(issuer, backend))
	url := g.URL + "/orders/1"

	claims := (&harness.IdP{Issuer: issuer}).Claims("shop", "orders:read")
	token := forge(t, harness.Claims{"alg": "RS256", "typ": "at+jwt", "kid": "one"}, claims)
	refused(t, g, unavailable, append(bearer(token), url)...)
	refused(t, g, refusal{401, "credential_missing", "", nothingPresented, nil}, url)
	if n := backend.Hits(t); n != 0 {
		t.Errorf("the backend answered %d requests", n)
	}

	idp := harness.StartIdP(t, port)
	good := idp.Token(t, "shop", "orders:read")
	harness.Eventually(t, "the gateway has found the issuer", func() bool {
		return harness.Curl(t, append(bearer(good), url)...).Status == http.StatusOK
	})
	refused(t, g, refusal{401, "token_key_unknown", "token_invalid", tokenInvalid, nil}, append(bearer(token), url)...)
}

var unavailable = refusal{503, "identity_unavailable", "", "", []string{"Retry-After"}}
