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
	Header string `json:"header"` // default x-api-key
	In     Place  `json:"in"`
}

// UnmarshalText reads the short form, true.
func (c *Config) UnmarshalText(text []byte) error {
	if string(text) != "true" {
		return errors.New(`is written "true" or { header: NAME }; leave apiKey out where no key is asked for`)
	}
	*c = Config{}
	return nil
}

// Place is the part of the request that holds the key: header, the default.
type Place string

// UnmarshalText refuses every place but header.
func (p *Place) UnmarshalText(text []byte) error {
	switch string(text) {
	case "header":
		*p = "header"
		return nil
	case "query":
		return errors.New("query is not in this build; send the key in a header")
	}
	return errors.New("must be header")
}

// New compiles the policy.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	if env.Directory == nil {
		return pipeline.Parts{}, errors.New("auth.apiKey: no directory to find keys in")
	}
	header := strings.ToLower(cfg.Header)
	if header == "" {
		header = exchange.HeaderAPIKey.String()
	}
	if err := checkHeader(header); err != nil {
		return pipeline.Parts{}, err
	}
	return pipeline.Parts{
		Authenticate: &keys{header: header, route: env.Route, directory: env.Directory},
		Check:        exchange.Check{Phase: "authenticate", Name: "apiKey", Want: "a key in header " + header},
		Challenge:    pipeline.Challenge{Scheme: "ApiKey", Params: fmt.Sprintf(`header="%s"`, header)},
		Credentials:  []string{header},
	}, nil
}

func checkHeader(name string) error {
	if len(name) > 64 {
		return pipeline.Complain("header", "is longer than 64 bytes")
	}
	for i := range len(name) {
		// Fields with other characters would have to be quoted in the
		// challenge; those with an underscore are dropped when received.
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return pipeline.Complain("header", "may hold letters, digits and - only")
		}
	}
	if id := exchange.IdentifyString(name); id != exchange.HeaderOther && id != exchange.HeaderAPIKey {
		return pipeline.Complain("header", "%s has a meaning of its own in HTTP; use x-api-key or a name of your own", name)
	}
	return nil
}

// keys is the compiled policy. Safe for concurrent use.
type keys struct {
	header    string
	route     string
	directory pipeline.Directory
}

// Authenticate implements pipeline.Authenticator.
func (p *keys) Authenticate(x *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	value, n := x.Req.GetName(p.header)
	switch {
	case n == 0:
		return nil, pipeline.NotMine
	case n > 1:
		return nil, pipeline.Refuse(fault.CredentialAmbiguous)
	case !WellFormed(value):
		// Nothing of it is noted: it may be a credential of another kind.
		return nil, pipeline.Refuse(fault.KeyMalformed)
	}
	ref := Ref(value)
	record, code := p.directory.Key(ref, w.Now, w.Remote)
	if record.Consumer == nil {
		x.Trail.Saw("key", Prefix(string(value)))
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
