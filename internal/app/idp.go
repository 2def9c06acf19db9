package app

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/jwt"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// IdPQuestion asks whether an issuer's tokens can be verified from here.
type IdPQuestion struct {
	Issuer   string // its URL, or its name in Config
	Config   string // configuration file; empty: Issuer is a URL
	CAFile   string // CAs to trust, beside a URL; empty: the system's
	Audience string // beside a URL; empty: as the token says
	Token    string // to be judged; empty: none
}

// IdPReport is the answer.
type IdPReport struct {
	Issuer string           `json:"issuer"`
	OK     bool             `json:"ok"`
	Preset string           `json:"preset,omitempty"` // that knows it
	Steps  []keys.ProbeStep `json:"steps"`
	Token  *TokenReport     `json:"token,omitempty"`
	Means  string           `json:"means,omitempty"`  // what the issuer calls itself, if that differs by a slash
	Config string           `json:"config,omitempty"` // lines for it, where it was asked by URL
}

// TokenReport is what became of a token under an issuer's rules.
type TokenReport struct {
	Code  string `json:"code,omitempty"` // of the refusal; empty: it was accepted
	Facts []Fact `json:"facts"`
	Mend  string `json:"mend,omitempty"`
}

// CheckIdP goes the way to an issuer's keys that a gateway goes, and says of
// each step what was expected, what was seen and what to do. An error says
// that the question could not be asked.
func CheckIdP(ctx context.Context, q IdPQuestion) (*IdPReport, error) {
	if q.Config != "" {
		return checkNamed(ctx, q)
	}
	preset, _ := config.Recognise(q.Issuer)
	r := &IdPReport{Issuer: q.Issuer, Preset: preset}
	cfg := keys.RemoteConfig{Issuer: q.Issuer}
	if q.CAFile != "" {
		pem, err := os.ReadFile(q.CAFile)
		if err != nil {
			return nil, err
		}
		cfg.CAPool = x509.NewCertPool()
		if !cfg.CAPool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no CA certificate", q.CAFile)
		}
	}
	name, lines := issuerLines(factsOf(q, q.Issuer))
	doc, problems := decodeIssuer(name, lines)
	switch {
	case doc == nil || len(problems) > 0 && len(doc.Issuers) == 0:
		return nil, problems
	case len(problems) > 0:
		r.refuse("issuer", "an issuer", q.Issuer+" "+problems[0].Text, problems[0].Mend)
		return r, nil
	}
	written := &doc.Issuers[0].Value
	probe := keys.Ask(ctx, cfg, written.Algorithms, written.ClockSkew.Std())
	r.Steps, r.OK = probe.Steps, probe.OK()
	switch {
	case r.OK:
		r.Config = lines
	case sameButSlash(probe.Issuer, q.Issuer):
		r.Means = probe.Issuer
		_, r.Config = issuerLines(factsOf(q, probe.Issuer))
	}
	if r.OK && q.Token != "" {
		compiler := NewCompiler(telemetry.NewMetrics("idp", codes()), nil, counters.NewMemory(1), slog.New(slog.DiscardHandler), nil)
		snap, problems := compiler.Compile(doc)
		if len(problems) > 0 {
			return nil, problems
		}
		defer snap.Release()
		r.judge(snap.Issuers[0], probe.Keys, q.Token)
		if q.Audience == "" {
			r.Token.Facts = append(r.Token.Facts, Fact{"note", "audience and client were taken from the token itself; compare them with what your API expects"})
		}
	}
	return r, nil
}

// checkNamed asks about an issuer of a configuration file, by its rules.
func checkNamed(ctx context.Context, q IdPQuestion) (*IdPReport, error) {
	snap, doc, err := compile(q.Config)
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	i := slices.IndexFunc(snap.Issuers, func(i *pipeline.Issuer) bool { return i.Name == q.Issuer })
	if i < 0 {
		return nil, fmt.Errorf("no issuer in %s is called %q; there are: %s", q.Config, q.Issuer, strings.Join(doc.Issuers.Names(), ", "))
	}
	iss, written := snap.Issuers[i], doc.Issuers.Get(q.Issuer)
	r := &IdPReport{Issuer: iss.URL, Preset: written.Preset}
	remote, ok := iss.Keys.(*keys.Remote)
	if !ok {
		r.OK = true
		r.Steps = []keys.ProbeStep{{Name: "keys", Outcome: keys.StepOK, Saw: "this gateway is the issuer itself: its keys are at hand"}}
		if q.Token != "" {
			r.refuse("token", "an issuer elsewhere", "tokens of the gateway itself are judged while it runs", "ask it: warder explain GET URL -H 'Authorization: Bearer …'")
		}
		return r, nil
	}
	probe := keys.Ask(ctx, remote.Config(), iss.Algorithms, iss.ClockSkew)
	r.Steps, r.OK = probe.Steps, probe.OK()
	if r.OK && q.Token != "" {
		r.judge(iss, probe.Keys, q.Token)
	}
	return r, nil
}

func (r *IdPReport) refuse(step, want, saw, mend string) {
	r.OK = false
	r.Steps = append(r.Steps, keys.ProbeStep{Name: step, Outcome: keys.StepNo, Want: want, Saw: saw, Mend: mend})
}

// judge has the policy of the gateway judge the token, with the keys that were
// just fetched.
func (r *IdPReport) judge(written *pipeline.Issuer, list []*keys.Key, token string) {
	iss := *written
	iss.Keys, iss.Verdicts = keys.NewStatic(list...), nil
	parts, err := jwt.New(jwt.Config{iss.Name}, pipeline.Env{Issuer: func(string) (*pipeline.Issuer, error) { return &iss, nil }})
	if err != nil {
		r.refuse("token", "", err.Error(), "")
		return
	}
	x := &exchange.Exchange{}
	x.Req.Reset()
	x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte("Authorization"), Value: []byte("Bearer " + token), ID: exchange.HeaderAuthorization})
	x.Trail.Begin(0)
	id, v := parts.Authenticate.Authenticate(x, &pipeline.World{Now: time.Now(), Remote: true})
	r.Token = &TokenReport{}
	seen := map[string]string{"issuer": iss.Name}
	for _, o := range x.Trail.Steps()[0].Operands() {
		seen[o.Name] = o.String()
		r.Token.Facts = append(r.Token.Facts, Fact{o.Name, o.String()})
	}
	if id != nil {
		r.Token.Facts = append(r.Token.Facts, Fact{"scopes", strings.Join(id.Scopes, " ")}, Fact{"roles", strings.Join(id.Roles, " ")})
		return
	}
	r.OK = false
	r.Token.Code = v.Code().String()
	if v == pipeline.NotMine {
		r.Token.Code = fault.CredentialMalformed.String()
	}
	var pairs []string
	for name, text := range seen {
		pairs = append(pairs, "{"+name+"}", text)
	}
	r.Token.Mend = strings.NewReplacer(pairs...).Replace(v.Code().Mend())
}

// sameButSlash reports whether what a document says of itself is what was
// asked for, but for the slash at the end.
func sameButSlash(issuer, asked string) bool {
	return issuer != asked && strings.TrimSuffix(issuer, "/") == strings.TrimSuffix(asked, "/")
}

// issuerFacts is what is known of an issuer that a configuration shall name.
type issuerFacts struct{ issuer, audience, client, caFile string }

// factsOf takes what is not said from a token.
func factsOf(q IdPQuestion, issuer string) issuerFacts {
	f := issuerFacts{issuer: issuer, audience: q.Audience, caFile: q.CAFile}
	said := unverified(q.Token)
	if said == nil {
		return f
	}
	f.client, _ = said.String("client_id")
	if list, ok := said.Strings("aud"); ok && f.audience == "" && len(list) > 0 {
		f.audience = list[0]
	}
	return f
}

// issuerLines writes the lines of a configuration for an issuer, and the name
// it has there.
func issuerLines(f issuerFacts) (name, lines string) {
	preset, tenant := config.Recognise(f.issuer)
	name = "idp"
	add := func(key, value, comment string) {
		lines += "    " + key + ": " + yamlText(value)
		if comment != "" {
			lines += "   # " + comment
		}
		lines += "\n"
	}
	if preset != "" {
		name = preset
		add("preset", preset, "")
	}
	if tenant != "" {
		add("tenant", tenant, "")
	} else {
		add("issuer", f.issuer, "")
	}
	if preset == "cognito" && f.client == "" {
		add("clientIds", "CLIENT-ID", "change it: the app client that may call")
	} else if preset == "cognito" {
		add("clientIds", f.client, "")
	}
	switch {
	case f.audience != "":
		add("audience", f.audience, "")
	case preset != "cognito":
		add("audience", "orders-api", "change it: what aud is in access tokens for your API")
	}
	if f.caFile != "" {
		add("caFile", f.caFile, "relative to the configuration file")
	}
	return name, "issuers:\n  " + name + ":\n" + lines
}

// decodeIssuer reads such lines as a document.
func decodeIssuer(name, lines string) (*config.Document, config.Problems) {
	rest := "upstreams: { none: [\"http://127.0.0.1:9\"] }\nroutes: [{ path: /, upstream: none, auth: { jwt: " + name + " } }]\n"
	return config.Decode("", []byte(lines+rest), config.Vocabulary{Policies: []string{"auth.jwt"}})
}

// yamlText writes a text so that YAML reads it back.
func yamlText(s string) string {
	letter := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	strange := func(r rune) bool { return !letter(r) && !strings.ContainsRune("._:/-*", r) }
	if s != "" && (letter(rune(s[0])) || s[0] == '/') && !strings.HasSuffix(s, ":") && !strings.ContainsFunc(s, strange) {
		return s
	}
	b, err := json.Marshal(strings.ReplaceAll(s, "${", "$${"))
	if err != nil {
		return `""`
	}
	return string(b)
}

// unverified reads what a token says of itself; nil if that cannot be read.
func unverified(token string) exchange.Claims {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	said, err := exchange.ParseClaims(payload)
	if err != nil {
		return nil
	}
	return said
}
