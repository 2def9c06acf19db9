package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/keys/keystest"
	"github.com/warder-gateway/warder/internal/secret"
)

// issuing is a gateway with an authorization server, which can be started again
// with the same state.
type issuing struct {
	t      *testing.T
	dir    string
	client *http.Client
	log    *buffer // of the last run
}

const issuingConfig = `listeners: [{ name: test, address: "127.0.0.1:0" }]
admin: { address: "127.0.0.1:0" }
drain: { delay: 0s, limit: 2s }
authorizationServer:
  issuer: http://localhost/auth
  clients: { demo: { secret: "${file:client}", scopes: [a], audience: api } }
issuers: { own: { issuer: http://localhost/auth, audience: api } }
upstreams: { b: [BACKEND] }
routes: [{ path: /x, upstream: b, auth: { jwt: own } }]
`

func newIssuing(t *testing.T) *issuing {
	i := &issuing{t: t, dir: t.TempDir(), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: generous}}
	i.file("client", "s3cret-of-the-client\n")
	i.file("config", strings.Replace(issuingConfig, "BACKEND", reflector(t), 1))
	i.keys("")
	return i
}

func (i *issuing) file(name, content string) {
	i.t.Helper()
	if err := os.WriteFile(filepath.Join(i.dir, name), []byte(content), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// keys sets the line of the configuration.
func (i *issuing) keys(line string) {
	i.t.Helper()
	b, err := os.ReadFile(filepath.Join(i.dir, "config"))
	if err != nil {
		i.t.Fatal(err)
	}
	i.file("warder.yaml", string(b)+line+"\n")
}

func (i *issuing) state(name string) string { return filepath.Join(i.dir, "state", name) }

// run starts it, and calls use with where it listens; or returns why it did not
// start.
func (i *issuing) run(use func(url string)) error {
	i.t.Helper()
	signals := make(chan os.Signal, 1)
	started, ended := make(chan app.Running, 1), make(chan error, 1)
	i.log = &buffer{}
	go func() {
		ended <- app.Run(app.Options{
			Config: filepath.Join(i.dir, "warder.yaml"), State: i.state(""), Stdout: io.Discard, Stderr: i.log, Version: "test",
			Started: func(at app.Running) { started <- at },
		}, signals)
	}()
	select {
	case err := <-ended:
		return err
	case at := <-started:
		use("http://" + at.Gateway["test"])
		signals <- syscall.SIGTERM
		return <-ended
	}
}

func (i *issuing) token(base string) string {
	i.t.Helper()
	req, _ := http.NewRequest("POST", base+"/auth/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	req.Host = "localhost"
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("demo", "s3cret-of-the-client")
	resp, err := i.client.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		i.t.Fatalf("no token: %d, %v", resp.StatusCode, err)
	}
	return answer.Token
}

func (i *issuing) call(base, token string) int {
	i.t.Helper()
	req, _ := http.NewRequest("GET", base+"/x", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := i.client.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (i *issuing) first() (token string) {
	i.t.Helper()
	if err := i.run(func(base string) { token = i.token(base) }); err != nil {
		i.t.Fatal(err)
	}
	return token
}

// accepts starts it and sees whether a token is still good.
func (i *issuing) accepts(token string) {
	i.t.Helper()
	err := i.run(func(base string) {
		if status := i.call(base, token); status != http.StatusOK {
			i.t.Errorf("status %d for a token of before", status)
		}
	})
	if err != nil {
		i.t.Error(err)
	}
}

// refuses starts it and wants it to say why it does not; nothing of the state
// folder may have changed.
func (i *issuing) refuses(want ...string) {
	i.t.Helper()
	before := i.content()
	err := i.run(func(string) { i.t.Error("it started") })
	if err == nil {
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			i.t.Errorf("error %v, want %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		i.t.Errorf("more than one sentence: %v", err)
	}
	if after := i.content(); after != before {
		i.t.Errorf("the state folder was changed from\n%s\nto\n%s", before, after)
	}
}

func (i *issuing) content() string {
	var all bytes.Buffer
	entries, err := os.ReadDir(i.state(""))
	if err != nil {
		i.t.Fatal(err)
	}
	for _, e := range entries {
		b, _ := os.ReadFile(i.state(e.Name()))
		all.WriteString(e.Name() + " " + string(b) + "\n")
	}
	return all.String()
}

const locked = `keys: { provider: embedded, passphrase: "${file:pass}" }`

func TestTokensSurviveARestartAndTheirKeyIsKeptSealed(t *testing.T) {
	t.Parallel()
	i := newIssuing(t)
	token := i.first()
	i.accepts(token)
	for _, name := range []string{"keys.kek", "data-keys.sealed", "authserver.sealed", app.TokenFile} {
		info, err := os.Stat(i.state(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if strings.Contains(i.content(), "PRIVATE KEY") {
		t.Error("a private key lies about")
	}
}

func TestAPassphraseLocksTheKeyFileAndTokensSurviveItsChange(t *testing.T) {
	t.Parallel()
	i := newIssuing(t)
	i.file("pass", "correct horse battery\n")
	i.keys(locked)
	// A key file that is opened at little cost: Argon2id is slow on purpose.
	b, err := os.ReadFile("testdata/keys.kek")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(i.state(""), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.state("keys.kek"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	token := i.first()
	err = i.run(func(base string) {
		i.file("pass", "incorrect horse battery")
		eventually(t, func() bool { return strings.Contains(i.log.String(), "is not opened by the configured passphrase") }, "a passphrase that the next start would fail with is not refused; log:\n%s", i.log)
		if status := i.call(base, token); status != http.StatusOK {
			t.Errorf("status %d while it is wrong", status)
		}
	})
	if err != nil {
		t.Error(err)
	}
	i.refuses("keys.kek is not opened by the configured passphrase")
	next := secret.New([]byte("another horse battery"))
	if err := app.RotateKEK(i.state(""), secret.New([]byte("correct horse battery")), next); err != nil {
		t.Fatal(err)
	}
	i.file("pass", "another horse battery")
	i.accepts(token)
}

func TestAStateFolderThatDoesNotFitIsOneSentenceAndStaysAsItIs(t *testing.T) {
	t.Parallel()
	i, other := newIssuing(t), newIssuing(t)
	token := i.first()
	other.first()
	kek, err := os.ReadFile(i.state("keys.kek"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other.state("keys.kek"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte, mode os.FileMode) {
		os.Remove(i.state("keys.kek"))
		if b == nil {
			return
		}
		if err := os.WriteFile(i.state("keys.kek"), b, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(i.state("keys.kek"), mode); err != nil {
			t.Fatal(err)
		}
	}
	put(nil, 0)
	i.refuses("keys: key file "+i.state("keys.kek")+" is missing", "data-keys.sealed was sealed with it: put it back")
	put(foreign, 0o600)
	i.refuses("keys.kek is of another installation")
	put(kek[:len(kek)-10], 0o600)
	i.refuses("keys.kek is damaged or cut short")
	put(kek, 0o644)
	i.refuses("keys.kek: others than its owner may use it (mode 0644)")
	put(kek, 0o600)
	i.file("pass", "correct horse battery")
	i.keys(locked)
	i.refuses("keys.kek is not locked by a passphrase")
	i.file("pass", "short")
	i.refuses("keys.passphrase: a passphrase has at least 12 bytes")
	i.keys("")
	sealed, err := os.ReadFile(i.state("authserver.sealed"))
	if err != nil {
		t.Fatal(err)
	}
	sealed[len(sealed)-1] ^= 1
	if err := os.WriteFile(i.state("authserver.sealed"), sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	i.refuses("signing key authserver: the sealed data was altered")
	sealed[len(sealed)-1] ^= 1
	if err := os.WriteFile(i.state("authserver.sealed"), sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	i.accepts(token)
}

func TestADocumentWithAProblemMakesNoKeys(t *testing.T) {
	t.Parallel()
	i := newIssuing(t)
	i.keys(locked) // and there is no such file
	err := i.run(func(string) { t.Error("it started") })
	if err == nil || !strings.Contains(err.Error(), "keys.passphrase: cannot read") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(i.state("keys.kek")); err == nil {
		t.Error("a key file was made that no passphrase locks")
	}
}

func TestRotateKEK(t *testing.T) {
	t.Parallel()
	i := newIssuing(t)
	var none secret.Value
	if err := app.RotateKEK(i.state(""), none, none); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("of nothing: %v", err)
	}
	token := i.first()
	before := i.content()
	var wg sync.WaitGroup
	for range 4 { // at once: each has its turn or says that it has not
		wg.Go(func() {
			if err := app.RotateKEK(i.state(""), none, none); err != nil && !strings.Contains(err.Error(), "another process rotates") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if i.content() == before {
		t.Error("nothing was changed")
	}
	i.accepts(token)
	before = i.content()
	if err := app.RotateKEK(i.state(""), secret.New([]byte("a passphrase that is wrong")), none); err == nil || i.content() != before {
		t.Errorf("with a wrong passphrase: %v", err)
	}
}

func TestStateFolderAsStorage(t *testing.T) {
	t.Parallel()
	s, err := app.OpenState(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	keystest.Storage(t, s)
	if err := os.Chmod(s.Path("it.sealed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(context.Background(), "it"); err == nil || !strings.Contains(err.Error(), "others than its owner") {
		t.Errorf("readable by everybody: %v", err)
	}
}
