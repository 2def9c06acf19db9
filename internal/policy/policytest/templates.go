package policytest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

// templates fills in what is made anew for every run.
type templates struct {
	dir       string
	document  *config.Document // nil before it is compiled
	own       *keys.TokenSigner
	other     *keys.TokenSigner
	keys      map[string]string // API keys by name
	passwords map[string]made   // by name
	secrets   []string          // what was made and must not be told
}

const keySetName = "issuer.jwks"

func newTemplates(t *testing.T) *templates {
	t.Helper()
	p := &templates{dir: t.TempDir(), keys: map[string]string{}, passwords: map[string]made{}}
	for _, signer := range []**keys.TokenSigner{&p.own, &p.other} {
		key, err := keys.NewLocalSigner()
		if err != nil {
			t.Fatal(err)
		}
		if *signer, err = keys.NewTokenSigner(key); err != nil {
			t.Fatal(err)
		}
	}
	write(t, p.dir, keySetName, p.own.PublicJWKS())
	return p
}

var (
	template = regexp.MustCompile(`\{\{(\w+) ?([^}]*)\}\}`)
	argument = regexp.MustCompile(`([\w.]+)=("[^"]*"|\S+)`)
)

// fill replaces every template of text.
func (p *templates) fill(t *testing.T, text string) string {
	t.Helper()
	return template.ReplaceAllStringFunc(text, func(all string) string {
		t.Helper()
		m := template.FindStringSubmatch(all)
		switch word, rest := m[1], strings.TrimSpace(m[2]); word {
		case "keys":
			return keySetName
		case "key":
			return p.key(rest)
		case "prefix":
			return apikey.Prefix(p.key(rest))
		case "hash":
			return apikey.Hash(p.key(rest))
		case "phc":
			return p.password(rest).hash
		case "basic":
			user, name, ok := strings.Cut(rest, " ")
			if !ok {
				t.Fatalf("%s: a user and the name of a password", all)
			}
			return p.basic(user + ":" + p.password(name).text)
		case "base64":
			return p.basic(rest)
		case "token":
			args := map[string]string{}
			for _, a := range argument.FindAllStringSubmatch(rest, -1) {
				args[a[1]] = strings.Trim(a[2], `"`)
			}
			return p.token(t, args)
		}
		t.Fatalf("there is no template %s", all)
		return ""
	})
}

// made is a password made for this run.
type made struct{ text, hash string }

func (p *templates) password(name string) made {
	m, ok := p.passwords[name]
	if !ok {
		m.text = rand.Text()
		m.hash = password.New([]byte(m.text))
		p.passwords[name] = m
		p.secrets = append(p.secrets, m.text, m.hash)
	}
	return m
}

// basic returns a credential of scheme Basic.
func (p *templates) basic(pair string) string {
	encoded := base64.StdEncoding.EncodeToString([]byte(pair))
	p.secrets = append(p.secrets, encoded)
	return "Basic " + encoded
}

func (p *templates) key(name string) string {
	key, ok := p.keys[name]
	if !ok {
		key = apikey.Generate()
		p.keys[name] = key
		p.secrets = append(p.secrets, key)
	}
	return key
}

// token makes an access token. issuer names the entry of issuers that it says
// it is from; its audience is the first of that entry unless aud is given.
// Times are counted from Now: exp=+5m, which is the default, nbf=-10s. typ is
// the header's, key=other signs with a key that the issuer does not publish;
// NAME=- leaves a claim out; every other argument is a claim of that name:
// a text, a number, or a list in JSON without spaces.
func (p *templates) token(t *testing.T, args map[string]string) string {
	t.Helper()
	issuer := p.document.Issuers.Get(args["issuer"])
	if issuer == nil {
		t.Fatalf("the configuration has no issuer %q", args["issuer"])
	}
	claims := map[string]any{"iss": issuer.Issuer, "aud": issuer.Audience[0], "iat": Now.Add(-time.Minute).Unix(), "exp": Now.Add(5 * time.Minute).Unix()}
	typ, signer := "JWT", p.own
	for name, value := range args {
		switch name {
		case "issuer":
		case "typ":
			typ = value
		case "key":
			signer = p.other
		case "exp", "nbf", "iat":
			if d, err := time.ParseDuration(value); err == nil {
				claims[name] = Now.Add(d).Unix()
				break
			}
			fallthrough
		default:
			claims[name] = value
			if strings.HasPrefix(value, "[") {
				claims[name] = json.RawMessage(value)
			}
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				claims[name] = n
			}
			if value == "-" {
				delete(claims, name)
			}
		}
	}
	token, err := signer.Sign(t.Context(), claims, typ)
	if err != nil {
		t.Fatal(err)
	}
	p.secrets = append(p.secrets, token)
	return token
}
