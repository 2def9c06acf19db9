package app_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

const corpURL = "https://corp.example"

// corp is an issuer whose keys are in a file.
func corp(t *testing.T) (file string, sign func(claims golangjwt.MapClaims) string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "jwks.json")
	set := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","alg":"EdDSA","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	if err := os.WriteFile(file, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, func(c golangjwt.MapClaims) string {
		all := golangjwt.MapClaims{"iss": corpURL, "aud": "api", "iat": time.Now().Unix() - 60, "exp": time.Now().Unix() + 600, "scope": "s"}
		for k, v := range c {
			all[k] = v
		}
		token := golangjwt.NewWithClaims(golangjwt.SigningMethodEdDSA, all)
		token.Header["kid"] = "k"
		text, err := token.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

const tokened = `upstreams: { a: [%s] }
store: %q
issuers: { corp: { issuer: "` + corpURL + `", audience: api, jwksFile: %q, algorithms: [EdDSA] } }
routes:
  - { name: hello, path: /hello, upstream: a, auth: { jwt: corp } }
  - { name: chat, path: /chat, upstream: a, auth: { jwt: corp }, upgrade: [websocket] }
`

// From the acknowledged revocation on it takes less than a second until every
// gateway refuses the token and has ended the streams it opened.
func TestARevokedTokenIsRefusedByEveryGatewayAndItsStreamsEnd(t *testing.T) {
	t.Parallel()
	at, state := storetest.Postgres(t), t.TempDir()
	file, sign := corp(t)
	config := fmt.Sprintf(tokened, chatty(t), at, file)
	var fleet []*running
	t.Cleanup(func() { // what is told last is told at the end
		for _, g := range fleet {
			if !strings.Contains(g.errors.String(), `msg="security event" event="tokens revoked" count=`) {
				t.Errorf("the revocations are no security event:\n%s", g.errors)
			}
		}
	})
	for i := range 3 {
		fleet = append(fleet, serveFrom(t, filepath.Join(state, fmt.Sprint(i)), "127.0.0.1:0", config, ""))
	}
	office := storetest.Open(t, store.Config{Address: secret.New([]byte(at)), Folder: state})
	now := time.Now()
	tokens := map[string]string{
		"token":    sign(golangjwt.MapClaims{"sub": "a", "client_id": "a"}),
		"jti":      sign(golangjwt.MapClaims{"sub": "b", "client_id": "b", "jti": "j1"}),
		"subject":  sign(golangjwt.MapClaims{"sub": "alice", "client_id": "c"}),
		"consumer": sign(golangjwt.MapClaims{"sub": "d", "client_id": "batch"}),
	}
	stays := sign(golangjwt.MapClaims{"sub": "e", "client_id": "e", "jti": "j2"})
	digest := exchange.TokenDigest([]byte(tokens["token"]))
	for what, r := range map[string]directory.Revocation{
		"token":    {What: exchange.RevokedToken, Name: fmt.Sprintf("%x", digest)},
		"jti":      {What: exchange.RevokedID, Issuer: corpURL, Name: "j1"},
		"subject":  {What: exchange.RevokedSubject, Issuer: corpURL, Name: "alice", Before: now},
		"consumer": {What: exchange.RevokedConsumer, Name: "corp/batch", Before: now},
	} {
		field := "Bearer " + tokens[what]
		var ends, goesOn []<-chan int
		for _, g := range fleet {
			g.answersBy(t, "Authorization", field, 200)
			ends = append(ends, g.webSocketBy(t, "Authorization: "+field))
			goesOn = append(goesOn, g.webSocketBy(t, "Authorization: Bearer "+stays))
		}
		if _, err := directory.Revoke(t.Context(), office, r, time.Now()); err != nil {
			t.Fatal(err)
		}
		acknowledged := time.Now()
		for _, g := range fleet {
			g.answersBy(t, "Authorization", field, 401)
		}
		refused := time.Since(acknowledged)
		for i, ended := range ends {
			if status := <-ended; status != 1008 {
				t.Errorf("%s: the stream on gateway %d ended with status %d, want 1008", what, i, status)
			}
		}
		t.Logf("%s: refused by all after %s, streams closed after %s", what, refused, time.Since(acknowledged))
		for _, g := range fleet {
			g.answersBy(t, "Authorization", "Bearer "+stays, 200)
		}
		for _, ended := range goesOn {
			select {
			case status := <-ended:
				t.Errorf("%s: the stream of another token ended with status %d", what, status)
			default:
			}
		}
	}
	if _, err := directory.Revoke(t.Context(), office, directory.Revocation{What: exchange.RevokedIssuer, Issuer: corpURL, Before: time.Now()}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, g := range fleet {
		g.answersBy(t, "Authorization", "Bearer "+stays, 401)
		eventually(t, func() bool { return strings.Contains(g.log.String(), `"token_revoked"`) }, "no refusal with token_revoked in the log")
	}
}

func TestTokensUnderAStoreThatNeverAnsweredAreOurOutage(t *testing.T) {
	t.Parallel()
	file, sign := corp(t)
	r := serve(t, fmt.Sprintf(tokened, reflector(t), "postgres://warder@127.0.0.1:1/warder", file), "")
	resp, body := r.do(t, request(t, "GET", r.url+"/hello", "Authorization", "Bearer "+sign(nil)))
	if resp.StatusCode != 503 || !strings.Contains(body, `"code":"identity_unavailable"`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
}
