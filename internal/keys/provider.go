package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/dial"
	"github.com/warder-gateway/warder/internal/exchange"
)

// ProviderConfig says which issuer is talked to, and as whom.
type ProviderConfig struct {
	Issuer string         // iss, byte for byte
	CAPool *x509.CertPool // nil: the system's
	Own    []uint16       // loopback ports of our own surfaces: never dialled
	Auth   *ClientAuth
}

// Provider is an issuer as a client of it sees it: its discovery document, and
// its endpoints. Safe for concurrent use; it starts nothing.
type Provider struct {
	cfg           ProviderConfig
	secure, plain *http.Transport

	discovery chan struct{} // held by who uses what follows
	source    source
	doc       exchange.Claims
	docAt     time.Time
}

// maxTokenAnswer bounds the answer of a token endpoint, in bytes.
const maxTokenAnswer = 256 << 10

// NewProvider returns a Provider. It calls nobody until it is asked.
func NewProvider(cfg ProviderConfig) *Provider {
	p := &Provider{
		cfg: cfg, discovery: make(chan struct{}, 1),
		source: newSource(RemoteConfig{Issuer: cfg.Issuer, CAPool: cfg.CAPool, Own: cfg.Own}),
	}
	p.secure = newTransport(cfg.CAPool, dial.Rules{Own: cfg.Own, Timeout: fetchTimeout})
	p.plain = newTransport(cfg.CAPool, dial.Rules{Own: cfg.Own, Timeout: fetchTimeout, LoopbackOnly: true})
	for _, t := range []*http.Transport{p.secure, p.plain} {
		t.TLSClientConfig.Certificates = cfg.Auth.certificates()
	}
	return p
}

// Document returns the issuer's discovery document, which may be an hour old.
// While the issuer does not give it, an older one will do. It takes six seconds
// at most, however many ask.
func (p *Provider) Document(ctx context.Context) (exchange.Claims, error) {
	// Who waits behind one whose question comes to nothing still gets the older.
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout+time.Second)
	defer cancel()
	select {
	case p.discovery <- struct{}{}:
		defer func() { <-p.discovery }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.doc != nil && time.Since(p.docAt) < rediscover {
		return p.doc, nil
	}
	doc, _, err := p.source.document(ctx)
	if err != nil {
		if p.doc != nil {
			p.docAt = time.Now().Add(time.Minute - rediscover) // and ask again in a minute
			return p.doc, nil
		}
		return nil, fmt.Errorf("discovery: %w", err)
	}
	p.doc, p.docAt = doc, time.Now()
	return doc, nil
}

// Endpoint returns a URL of the document: https where the issuer is, or http on
// this machine. "" with no error: the issuer has none.
func (p *Provider) Endpoint(doc exchange.Claims, name string) (string, error) {
	at := text(doc, name)
	if at == "" {
		return "", nil
	}
	plain, err := checkURL(at)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s of the document: %w", name, err)
	case plain && strings.HasPrefix(p.cfg.Issuer, "https:"):
		return "", fmt.Errorf("the issuer is https and its %s is not", name)
	case len(at) > maxEndpoint:
		return "", fmt.Errorf("%s of the document is longer than %d bytes", name, maxEndpoint)
	}
	return at, nil
}

// Rejected is an answer of a token endpoint that says no (RFC 6749 section
// 5.2): asking again is of no use.
type Rejected struct{ Code string }

func (r *Rejected) Error() string { return fmt.Sprintf("the issuer refuses: %.100q", r.Code) }

// Token asks the token endpoint (RFC 6749 section 3.2), proving which client we
// are. An error is *Rejected, or an outage.
func (p *Provider) Token(ctx context.Context, form url.Values) (exchange.Claims, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	doc, err := p.Document(ctx)
	if err != nil {
		return nil, err
	}
	at, err := p.Endpoint(doc, "token_endpoint")
	if err != nil {
		return nil, err
	}
	if at == "" {
		return nil, errors.New("the document has no token_endpoint")
	}
	if len(p.cfg.Auth.certificates()) > 0 {
		if alias, ok := doc.String("mtls_endpoint_aliases.token_endpoint"); ok {
			at = alias
		}
	}
	plain, err := checkURL(at)
	if err != nil {
		return nil, err
	}
	if plain && p.cfg.Auth.certificates() != nil {
		return nil, fmt.Errorf("%s is not https: no certificate can be shown there", at)
	}
	header := http.Header{"Accept": {"application/json"}, "Content-Type": {"application/x-www-form-urlencoded"}}
	if err := p.cfg.Auth.Prove(header, form, time.Now()); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = header
	transport := p.secure
	if plain {
		transport = p.plain
	}
	resp, err := transport.RoundTrip(req) // which follows no redirect
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", at, err)
	case len(body) > maxTokenAnswer:
		return nil, fmt.Errorf("%s: the answer is larger than %d bytes", at, maxTokenAnswer)
	}
	answer, err := exchange.ParseClaims(body)
	switch {
	case resp.StatusCode == http.StatusBadRequest && err == nil && text(answer, "error") != "":
		return nil, &Rejected{text(answer, "error")}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers with status %d", at, resp.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("%s: the answer %w", at, err)
	}
	return answer, nil
}

// Start does nothing: a Provider works when it is asked.
func (p *Provider) Start() {}

// Close lets go of connections.
func (p *Provider) Close() {
	p.secure.CloseIdleConnections()
	p.plain.CloseIdleConnections()
}
