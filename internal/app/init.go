package app

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// FirstConfig is what a first configuration is made of.
type FirstConfig struct {
	File     string // where it will stand; it is not written here
	Issuer   string // URL
	Audience string
	Client   string // for issuers whose access tokens have no aud; empty: none
	CAFile   string // of the issuer; empty: the system's
	Upstream string // URL of the API
	Path     string // that is protected
}

// Judge says what is wrong with what is filled in so far; nil if it can be
// part of a configuration.
func (f FirstConfig) Judge() error {
	f.Issuer = cmp.Or(f.Issuer, "https://login.example.com/")
	f.Audience = cmp.Or(f.Audience, "api")
	f.Client = cmp.Or(f.Client, "client")
	f.Upstream = cmp.Or(f.Upstream, "http://127.0.0.1:9000")
	f.Path = cmp.Or(f.Path, "/**")
	_, err := f.Text()
	return err
}

// unplaced are problems of a text that stands in no file.
func unplaced(problems config.Problems) error {
	var all []error
	for _, p := range problems {
		text := p.Text
		if p.Path != "" {
			text = p.Path + ": " + text
		}
		if p.Mend != "" {
			text += "; " + p.Mend
		}
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}

// Text writes the configuration, and takes it down the road that run takes:
// what it returns without an error loads.
func (f *FirstConfig) Text() (string, error) {
	ca := f.CAFile
	if ca != "" {
		// Files are named relative to the one that names them.
		here, err := filepath.Abs(filepath.Dir(f.File))
		if err != nil {
			return "", err
		}
		if ca, err = filepath.Abs(ca); err != nil {
			return "", err
		}
		if near, err := filepath.Rel(here, ca); err == nil {
			ca = near
		}
	}
	name, lines := issuerLines(issuerFacts{issuer: f.Issuer, audience: f.Audience, client: f.Client, caFile: ca})
	text := fmt.Sprintf(`# Made by warder init. Every key: docs/reference/configuration.md; by task: docs/CONFIGURATION.md.
%s
upstreams:
  api: [%s]

routes:
  - path: %s
    upstream: api
    auth: { jwt: %s }             # add scopes: [orders:read] to ask for more than a good token
    rateLimit: 100/min per consumer
`, lines, yamlText(f.Upstream), yamlText(f.Path), name)
	compiler := NewCompiler(telemetry.NewMetrics("init", codes()), nil, counters.NewMemory(1), slog.New(slog.DiscardHandler), nil)
	doc, problems := config.Decode(f.File, []byte(text), compiler.Vocabulary())
	if doc == nil {
		return "", unplaced(problems)
	}
	snap, problems := compiler.Compile(doc)
	if len(problems) > 0 {
		return "", unplaced(problems)
	}
	snap.Release()
	return text, nil
}
