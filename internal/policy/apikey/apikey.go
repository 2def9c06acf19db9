// Package apikey is the policy that proves a consumer by an API key: auth.apiKey.
package apikey

import (
	"errors"
	"fmt"
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Config is true, or says where the key is sent.
type Config struct {
	In   Place  `json:"in"`
	Name string `json:"name"` // of the header, or of the query parameter; default of a header: x-api-key
}

// UnmarshalText reads the short form, true.
func (c *Config) UnmarshalText(text []byte) error {
	if string(text) != "true" {
		return errors.New(`is written "true" or { in: header, name: NAME }; leave apiKey out where no key is asked for`)
	}
	*c = Config{}
	return nil
}

// Instead answers to the form of an earlier build.
func (c *Config) Instead(key, value string) string {
	if key != string(inHeader) && key != string(inQuery) {
		return ""
	}
	if value == "" {
		value = "NAME"
	}
	return "write apiKey: { in: " + key + ", name: " + value + " }"
}

// Place is the part of the request that holds the key: header, the default, or
// query.
type Place string

// The places of a key.
const (
	inHeader Place = "header"
	inQuery  Place = "query"
)

// UnmarshalText refuses every place but these two.
func (p *Place) UnmarshalText(text []byte) error {
	if *p = Place(text); *p != inHeader && *p != inQuery {
		return errors.New("must be header or query")
	}
	return nil
}

// New compiles the policy.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if env.Directory == nil {
		return pipeline.Parts{}, errors.New("auth.apiKey: no directory to find keys in")
	}
	k := &keys{name: cfg.Name, inQuery: cfg.In == inQuery, route: env.Route, directory: env.Directory}
	parts := pipeline.Parts{Authenticate: k, Check: exchange.Check{Phase: "authenticate", Name: "apiKey"}}
	if k.inQuery {
		if err := checkParameter(k.name); err != nil {
			return pipeline.Parts{}, err
		}
		parts.Check.Want = "a key in query parameter " + k.name
		parts.Challenge = pipeline.Challenge{Scheme: "ApiKey", Params: fmt.Sprintf(`query="%s"`, k.name)}
		parts.Parameters = []string{k.name}
		parts.Doubt = "asks for a key in the query: what is in an address ends up in the logs of proxies, in histories and bookmarks; a header keeps it out of them"
		return parts, nil
	}
	if k.name = strings.ToLower(k.name); k.name == "" {
		k.name = exchange.HeaderAPIKey.String()
	}
	if err := checkHeader(k.name); err != nil {
		return pipeline.Parts{}, err
	}
	parts.Check.Want = "a key in header " + k.name
	parts.Challenge = pipeline.Challenge{Scheme: "ApiKey", Params: fmt.Sprintf(`header="%s"`, k.name)}
	parts.Credentials = []string{k.name}
	return parts, nil
}

const maxName = 64 // bytes

func checkHeader(name string) error {
	if len(name) > maxName {
		return pipeline.Complain("name", "is longer than %d bytes", maxName)
	}
	for i := range len(name) {
		// Fields with other characters would have to be quoted in the
		// challenge; those with an underscore are dropped when received.
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return pipeline.Complain("name", "may hold letters, digits and - only, as the name of a header")
		}
	}
	if id := exchange.IdentifyString(name); id != exchange.HeaderOther && id != exchange.HeaderAPIKey {
		return pipeline.Complain("name", "%s has a meaning of its own in HTTP; use x-api-key or a name of your own", name)
	}
	return nil
}

func checkParameter(name string) error {
	if name == "" {
		return pipeline.Complain("", "needs the name of the query parameter: { in: query, name: key }")
	}
	if len(name) > maxName {
		return pipeline.Complain("name", "is longer than %d bytes", maxName)
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return pipeline.Complain("name", "may hold letters, digits, -, _ and . only, and begins with a letter or digit")
		}
	}
	return nil
}

// keys is the compiled policy. Safe for concurrent use.
type keys struct {
	name      string
	inQuery   bool
	route     string
	directory pipeline.Directory
}

// Authenticate implements pipeline.Authenticator.
func (p *keys) Authenticate(x *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	value, n, twice := []byte(nil), 0, fault.CredentialAmbiguous
	if p.inQuery {
		var f *fault.Error
		if value, n, f = x.Req.TakeParameter(p.name, x.Alloc); f != nil {
			x.Trail.Saw("because", f.Reason)
			return nil, pipeline.Refuse(f.Code)
		}
		if twice = fault.ParameterAmbiguous; n > 1 {
			x.Trail.Saw("name", p.name)
		}
	} else {
		value, n = x.Req.GetName(p.name)
	}
	switch {
	case n == 0:
		return nil, pipeline.NotMine
	case n > 1:
		return nil, pipeline.Refuse(twice)
	}
	var ref exchange.KeyRef
	if WellFormed(value) {
		ref = Ref(value)
	} else if imported, code := p.directory.Imported(value); code == fault.None {
		ref = imported
	} else {
		// Nothing of it is noted: it may be a credential of another kind.
		return nil, pipeline.Refuse(code)
	}
	record, code := p.directory.Key(ref, w.Now, w.Remote)
	if record.Consumer == nil {
		if !ref.Imported { // of which nothing is noted, either
			x.Trail.Saw("key", Prefix(string(value)))
		}
		if code == fault.None {
			code = fault.KeyUnknown
		}
		return nil, pipeline.Refuse(code)
	}
	id := x.KeyIdentity(ref, record)
	x.Trail.Saw("key", id.Proof)
	x.Trail.Saw("consumer", id.Consumer)
	switch {
	case code != fault.None:
		return nil, pipeline.Refuse(code)
	case !record.Limits.Admits(x.Client):
		x.Trail.Saw("because", "the key is not good from this address")
		return nil, pipeline.Refuse(fault.AddressDenied)
	case !record.Limits.Opens(p.route):
		x.Trail.Saw("because", "the key is not good on this route")
		return nil, pipeline.Refuse(fault.CredentialNotAllowedHere)
	}
	return id, pipeline.Pass
}
