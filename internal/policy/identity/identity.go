// Package identity is the policy that tells backends who is calling: identity,
// in header fields, in a signed assertion, or both.
package identity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/template"
)

// Config is what a backend is told, and in which fields. The word none tells
// it nothing, where something would be inherited.
type Config struct {
	None    bool             `json:"-"`
	Headers map[string]Value `json:"headers"` // by field
	JWT     *JWT             `json:"jwt"`
}

// UnmarshalText takes the word none.
func (c *Config) UnmarshalText(text []byte) error {
	if string(text) != "none" {
		return errors.New("write none, or what to tell: { headers: { X-User: \"{claims.sub}\" } } or { jwt: { header: X-Identity } }")
	}
	c.None = true
	return nil
}

// Value is a template, and how what is filled in is written.
type Value struct {
	Value  string `json:"value" required:"true"`
	Encode string `json:"encode" enum:"percent,base64url,json"` // empty: as it is
}

// UnmarshalText takes the template.
func (v *Value) UnmarshalText(text []byte) error {
	v.Value = string(text)
	return nil
}

// JWT is a signed assertion.
type JWT struct {
	Header   string              `json:"header" required:"true"`
	Audience string              `json:"audience"` // default: the name of the upstream
	Claims   scalar.List[string] `json:"claims"`   // paths of claims to pass on
}

// Bounds of what a backend is told.
const (
	maxHeaders  = 16      // fields
	maxClaims   = 16      // that an assertion passes on
	maxName     = 256     // bytes of an audience, or of a claim's path
	maxAll      = 8 << 10 // bytes of all values together
	keepScratch = 64 << 10
)

// New compiles the policy. Names of fields are judged by whoever knows all that
// have a meaning of their own.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	switch {
	case cfg.None:
		return pipeline.Parts{}, nil
	case env.Public:
		return pipeline.Parts{}, pipeline.Complain("", "route %s is public: nobody is known there to tell of; write identity: none on that route", env.Route)
	case len(cfg.Headers) == 0 && cfg.JWT == nil:
		return pipeline.Parts{}, pipeline.Complain("", "tells the backend nothing; write headers or jwt, or the word none")
	case len(cfg.Headers) > maxHeaders:
		return pipeline.Parts{}, pipeline.Complain("headers", "has %d fields; at most %d may be", len(cfg.Headers), maxHeaders)
	}
	var problems []error
	var sets []pipeline.SetField
	var doubt string
	t := &teller{authority: env.Assertions}
	seen := map[string]string{}
	take := func(name, at string) {
		folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
		if other, twice := seen[folded]; twice {
			problems = append(problems, pipeline.Complain(at, "%s and %s are one field to many backends", other, name))
		}
		seen[folded] = name
		sets = append(sets, pipeline.SetField{Name: name, At: at})
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		at := "headers." + name
		if strings.ContainsAny(name, ".[") { // which a path would take for steps
			at = fmt.Sprintf("headers[%q]", name)
		}
		take(name, at)
		v := cfg.Headers[name]
		compiled, err := template.Compile(v.Value, template.Encodings[v.Encode])
		if err != nil {
			problems = append(problems, pipeline.Complain(at, "%v", err))
			continue
		}
		t.fields = append(t.fields, field{name, compiled})
		if compiled.Mixes() {
			doubt = fmt.Sprintf("writes several values into %s as they are: whoever chooses one of them, such as a name, can write what parts them and what follows; give each a field of its own, or write encode: percent", name)
		}
	}
	if cfg.JWT != nil {
		take(cfg.JWT.Header, "jwt.header")
		a, bad := compileJWT(cfg.JWT, env.Upstream)
		problems = append(problems, bad...)
		t.jwt = a
	}
	if len(problems) > 0 {
		return pipeline.Parts{}, errors.Join(problems...)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		if claim := personal(cfg.Headers[name]); claim != "" && doubt == "" {
			doubt = fmt.Sprintf("header %s takes claim %s as it is: people whose %s has letters beyond ASCII get 500; write { value: …, encode: percent }", name, claim, claim)
		}
	}
	var names []string
	for _, s := range sets {
		names = append(names, s.Name)
	}
	t.names = strings.Join(names, ", ")
	return pipeline.Parts{
		Transform: t, Sets: sets, Asserts: t.jwt != nil, Doubt: doubt,
		Check: exchange.Check{Phase: "transform", Name: "identity", Want: "sets " + t.names},
	}, nil
}

// personal returns the first claim in a value, written as it is, that holds
// what people are called or where they live (OpenID Connect Core section 5.1,
// and what directories make of it); "": there is none.
func personal(v Value) string {
	if v.Encode != "" {
		return ""
	}
	for rest := v.Value; ; {
		_, after, ok := strings.Cut(rest, "{claims.")
		if !ok {
			return ""
		}
		claim, _, _ := strings.Cut(after, "}")
		switch first, _, _ := strings.Cut(claim, "."); strings.ToLower(strings.ReplaceAll(first, "_", "")) {
		case "name", "givenname", "familyname", "middlename", "nickname", "firstname", "lastname", "displayname", "fullname", "address":
			return claim
		}
		rest = after
	}
}

func compileJWT(cfg *JWT, upstream string) (a *asserter, problems []error) {
	audience := cfg.Audience
	if audience == "" {
		audience = upstream
	}
	if len(audience) > maxName {
		problems = append(problems, pipeline.Complain("jwt.audience", "has more than %d bytes", maxName))
	}
	if len(cfg.Claims) > maxClaims {
		problems = append(problems, pipeline.Complain("jwt.claims", "names %d claims; at most %d may be", len(cfg.Claims), maxClaims))
	}
	a = &asserter{header: cfg.Header, audience: exchange.AppendJSON([]byte(`"aud":`), audience)}
	for i, path := range cfg.Claims {
		switch {
		case path == "" || len(path) > maxName:
			problems = append(problems, pipeline.Complain(fmt.Sprintf("jwt.claims[%d]", i), "the path of a claim has from 1 to %d bytes", maxName))
		case slices.Contains(cfg.Claims[:i], path):
			problems = append(problems, pipeline.Complain(fmt.Sprintf("jwt.claims[%d]", i), "stands here twice"))
		}
		a.claims = append(a.claims, passed{path, append(exchange.AppendJSON(nil, path), ':')})
	}
	return a, problems
}
