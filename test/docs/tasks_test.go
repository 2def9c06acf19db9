package docs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/app"
)

// Each configuration of docs/TASKS.md is run, and the commands behind it answer
// what the page shows. The page's addresses are made real, and real ones in
// answers are made the page's.
func TestTheTasksAnswerWhatTheirPageShows(t *testing.T) {
	t.Parallel()
	bash := need(t, "bash")
	need(t, "curl")
	bin := filepath.Dir(binary(t))
	tasks := 0
	for _, b := range blocks(t, "docs/TASKS.md") {
		if b.lang != "yaml" {
			continue
		}
		tasks++
		shown := b.next
		if shown == nil || shown.lang != "console" {
			t.Fatalf("%s:%d: no commands follow", b.page, b.line)
		}
		t.Run(strings.Fields(b.text)[0], func(t *testing.T) {
			t.Parallel()
			w := newTaskWorld(t, b.text)
			var got strings.Builder
			for line := range strings.SplitSeq(strings.TrimSpace(shown.text), "\n") {
				command, isCommand := strings.CutPrefix(line, "$ ")
				if !isCommand {
					continue
				}
				got.WriteString(line + "\n" + w.enter(t, bash, bin, command))
			}
			if want := sameEachTime(shown.text); got.String() != want {
				t.Errorf("%s:%d: the page shows\n%s\nand the gateway answers\n%s", shown.page, shown.line, want, got.String())
			}
		})
	}
	if tasks != 6 {
		t.Errorf("the page has %d tasks", tasks)
	}
}

// taskWorld is a gateway that runs a task, and what is around it.
type taskWorld struct {
	dir      string
	env      []string
	real, of *strings.Replacer // the page's addresses to real ones, and back
}

func newTaskWorld(t *testing.T, config string) *taskWorld {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	provider := httptest.NewServer(nil)
	t.Cleanup(provider.Close)
	issuer := provider.URL + "/"
	provider.Config.Handler = publishing(t, issuer, &key.PublicKey)
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") }))
	t.Cleanup(orders.Close)

	port := func() string {
		// Below those that the system gives to clients, and to whoever asks for
		// any: one of those may be somebody else's before it is used.
		for range 100 {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+mathrand.IntN(22_000)))
			if err == nil {
				l.Close()
				_, port, _ := net.SplitHostPort(l.Addr().String())
				return port
			}
		}
		t.Fatal("no port of 127.0.0.1 is free")
		return ""
	}
	plain, secure := port(), port()
	pairs := []string{
		"https://login.example.com/", issuer, "127.0.0.1:8080", "127.0.0.1:" + plain, "127.0.0.1:8443", "127.0.0.1:" + secure, "localhost:8443", "localhost:" + secure,
		"http://127.0.0.1:9000", orders.URL,
	}
	var back []string
	for i := len(pairs) - 2; i >= 0; i -= 2 {
		back = append(back, pairs[i+1], pairs[i])
	}
	w := &taskWorld{dir: dir, real: strings.NewReplacer(pairs...), of: strings.NewReplacer(back...)}

	files(t, dir)
	text := w.real.Replace(config) + "admin: { address: \"127.0.0.1:0\" }\ndrain: { delay: 0s, limit: 5s }\n"
	if !strings.Contains(config, "listeners:") {
		text += "listeners: [{ name: public, address: \"127.0.0.1:" + plain + "\" }]\n"
	}
	write(t, filepath.Join(dir, "warder.yaml"), text)
	state := filepath.Join(dir, "state")
	started, ended, signals := make(chan app.Running, 1), make(chan error, 1), make(chan os.Signal, 1)
	go func() {
		ended <- app.Run(app.Options{
			Config: filepath.Join(dir, "warder.yaml"), State: state, Stdout: io.Discard, Stderr: io.Discard, Version: "test",
			AskWithin: time.Minute, Started: func(r app.Running) { started <- r },
		}, signals)
	}()
	select {
	case r := <-started:
		w.env = append(os.Environ(), "WARDER_ADMIN=http://"+r.Admin, "STATE_DIRECTORY="+state)
	case err := <-ended:
		t.Fatalf("the configuration does not run: %v", err)
	}
	t.Cleanup(func() {
		signals <- syscall.SIGTERM
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	holder, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := func(more jwt.MapClaims) string {
		claims := jwt.MapClaims{
			"iss": issuer, "aud": "orders-api", "sub": "shop", "client_id": "shop", "scope": "orders:read",
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		}
		for name, value := range more {
			claims[name] = value
		}
		form := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
		form.Header["typ"], form.Header["kid"] = "at+jwt", "one"
		text, err := form.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	bound := token(jwt.MapClaims{"cnf": map[string]string{"jkt": digest(t, jwk(t, &holder.PublicKey))}})
	w.env = append(w.env,
		"KEY=wk_rLbLfcOu_FAnffCUn3761pPFjFq06VGXU5rdREdJ6fJa75pU8A3a0Q1Fkc",
		"TOKEN="+token(nil), "BOUND="+bound,
		"PROOF="+proof(t, holder, w.real.Replace("http://127.0.0.1:8080/orders/1"), bound))
	return w
}

// publishing is a provider as far as it publishes something.
func publishing(t *testing.T, issuer string, key *ecdsa.PublicKey) http.Handler {
	t.Helper()
	public := jwk(t, key)
	public["kid"], public["alg"] = "one", "ES256"
	answers := map[string]any{
		"/.well-known/openid-configuration": map[string]string{"issuer": issuer, "jwks_uri": issuer + "jwks", "authorization_endpoint": issuer + "authorize", "token_endpoint": issuer + "token"},
		"/jwks":                             map[string]any{"keys": []any{public}},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answers[r.URL.Path])
	})
}

// jwk is a key as RFC 7638 has it for a thumbprint: what must be there, and
// nothing else.
func jwk(t *testing.T, key *ecdsa.PublicKey) map[string]string {
	t.Helper()
	point, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
}

// digest is that of JSON whose members come sorted.
func digest(t *testing.T, v map[string]string) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// proof makes a DPoP proof (RFC 9449) for a GET with a token.
func proof(t *testing.T, key *ecdsa.PrivateKey, url, token string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	form := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"jti": rand.Text(), "htm": "GET", "htu": url, "iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	})
	form.Header["typ"], form.Header["jwk"] = "dpop+jwt", jwk(t, &key.PublicKey)
	text, err := form.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// files writes what the tasks name: a certificate of localhost, a CA of
// partners, and the certificate of one.
func files(t *testing.T, dir string) {
	t.Helper()
	make := func(name string, form, parent *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		form.SerialNumber, form.NotBefore, form.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, form, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "tls", name+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		write(t, filepath.Join(dir, "tls", name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
		return key
	}
	own := &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	make("api", own, own, nil)
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Partners"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	signer := make("partners-ca", ca, ca, nil)
	client := &x509.Certificate{Subject: pkix.Name{CommonName: "acme"}, DNSNames: []string{"batch.acme.example"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	make("acme", client, ca, signer)
	write(t, filepath.Join(dir, "demo.secret"), strings.Repeat("s", 43))
}

// enter types a command and returns what it prints, in the words of the page.
// What explain knows of a request, it knows soon after the answer; what is not
// to be had yet, such as the keys of the provider, is asked for again.
func (w *taskWorld) enter(t *testing.T, bash, bin, command string) string {
	t.Helper()
	for over := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		cmd := exec.Command(bash, "-c", w.real.Replace(command))
		cmd.Dir, cmd.Env = w.dir, append(w.env, "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.Output()
		text := string(out)
		early := strings.Contains(command, "explain") && (err != nil || !strings.Contains(text, "  NO  ")) || strings.Contains(text, `"status":503`)
		if !early || time.Now().After(over) {
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			return sameEachTime(w.of.Replace(text))
		}
	}
}

var leftWords = regexp.MustCompile(`(expires in|retry) [0-9.]+[0-9a-z.]*`)

// sameEachTime takes out of a text what is another each time.
func sameEachTime(s string) string {
	s = idText.ReplaceAllString(s, "8f1c0d5e3b7a49268f1c0d5e3b7a4926")
	s = clockText.ReplaceAllString(s, "12:04:31Z")
	return leftWords.ReplaceAllString(s, "$1 1h")
}
