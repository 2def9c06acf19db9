package keys

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/dial"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/secret"
)

const (
	fetchTimeout  = 5 * time.Second // of one request, body included
	rediscover    = time.Hour       // how long a jwks_uri that works is believed
	discoveryPath = "/.well-known/openid-configuration"
)

// source fetches key sets from where a RemoteConfig says they are. It is used
// by one goroutine at a time.
type source struct {
	issuer, file, uri string
	secure, plain     http.RoundTripper

	discovered   string // jwks_uri of the issuer's document, while it works
	discoveredAt time.Time
}

// found is a good answer.
type found struct {
	keys   ring
	left   []string
	maxAge time.Duration
}

func newSource(cfg RemoteConfig) source {
	return source{
		issuer: cfg.Issuer, file: cfg.JWKSFile, uri: cfg.JWKSURI,
		secure: newTransport(cfg.CAPool, dial.Rules{Own: cfg.Own, Timeout: fetchTimeout}),
		plain:  newTransport(cfg.CAPool, dial.Rules{Own: cfg.Own, Timeout: fetchTimeout, LoopbackOnly: true}),
	}
}

// newTransport makes a transport that keeps no connection, follows no proxy
// of the environment, and dials by the rules.
func newTransport(pool *x509.CertPool, rules dial.Rules) *http.Transport {
	return &http.Transport{
		DialContext:            rules.Context,
		TLSClientConfig:        &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    fetchTimeout,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// load fetches the set once.
func (s *source) load(ctx context.Context) (found, error) {
	if s.file != "" {
		data, err := secret.ReadRegular(s.file, maxSetBytes)
		if err != nil {
			return found{}, fmt.Errorf("%s: %w", s.file, err)
		}
		return parse(data, minRefresh)
	}
	uri := s.uri
	if uri == "" {
		var err error
		if uri, err = s.discover(ctx); err != nil {
			return found{}, fmt.Errorf("discovery: %w", err)
		}
	}
	data, header, err := s.get(ctx, uri)
	if err != nil {
		s.discovered = "" // it may have moved
		return found{}, err
	}
	return parse(data, freshness(header))
}

func parse(data []byte, maxAge time.Duration) (found, error) {
	list, left, err := ParseSet(data)
	return found{keys: list, left: left, maxAge: maxAge}, err
}

// discover returns the jwks_uri of the issuer (OpenID Connect Discovery 1.0
// sections 4 and 4.3).
func (s *source) discover(ctx context.Context) (string, error) {
	if s.discovered != "" && time.Since(s.discoveredAt) < rediscover {
		return s.discovered, nil
	}
	doc, _, err := s.document(ctx)
	if err != nil {
		return "", err
	}
	uri, err := s.jwksURI(doc)
	if err != nil {
		return "", err
	}
	s.discovered, s.discoveredAt = uri, time.Now()
	return uri, nil
}

// document fetches the issuer's discovery document and sees to it that it is
// that issuer's. secure says that it came by https.
func (s *source) document(ctx context.Context) (doc exchange.Claims, secure bool, err error) {
	at := s.documentURL()
	data, _, err := s.get(ctx, at)
	if err != nil {
		return nil, false, err
	}
	if doc, err = exchange.ParseClaims(data); err != nil {
		return nil, false, fmt.Errorf("the document %w", err)
	}
	if issuer := text(doc, "issuer"); issuer != s.issuer {
		return nil, false, fmt.Errorf("the document is that of issuer %.200q, not of %q; they must be equal byte for byte", issuer, s.issuer)
	}
	return doc, strings.HasPrefix(at, "https:"), nil
}

// documentURL returns where the issuer's discovery document is.
func (s *source) documentURL() string { return strings.TrimSuffix(s.issuer, "/") + discoveryPath }

// jwksURI takes it from the issuer's own discovery document.
func (s *source) jwksURI(doc exchange.Claims) (string, error) {
	uri := text(doc, "jwks_uri")
	switch {
	case uri == "":
		return "", errors.New("the document has no jwks_uri")
	case strings.HasPrefix(s.issuer, "https:") && !strings.HasPrefix(uri, "https:"):
		return "", errors.New("the document was fetched by https and its jwks_uri is not https")
	}
	return uri, nil
}

// CheckURL says why keys are never fetched from a URL: it is neither https,
// nor http on a host that is a loopback literal or localhost.
func CheckURL(raw string) error {
	_, err := checkURL(raw)
	return err
}

func checkURL(raw string) (plain bool, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return false, fmt.Errorf("%.200q is not a URL of an issuer", raw)
	}
	switch u.Scheme {
	case "https":
		return false, nil
	case "http":
		a, err := netip.ParseAddr(u.Hostname())
		if u.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback() {
			return true, nil
		}
	}
	return false, fmt.Errorf("%.200q is not https; http is for 127.0.0.1, [::1] and localhost only", raw)
}

// get fetches one document of at most 1 MiB, and the head it came with.
func (s *source) get(ctx context.Context, at string) (data []byte, header http.Header, err error) {
	plain, err := checkURL(at)
	if err != nil {
		return nil, nil, err
	}
	client := http.Client{
		Transport:     s.secure,
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if plain {
		client.Transport = s.plain
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, late(ctx, at, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, nil, fmt.Errorf("%s answers with a redirect, which is not followed", at)
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%s answers with status %d", at, resp.StatusCode)
	}
	data, err = readBounded(resp.Body)
	if err != nil {
		return nil, nil, late(ctx, at, fmt.Errorf("%s: %w", at, err))
	}
	return data, resp.Header, nil
}

// late puts an error of a fetch that took too long into our words.
func late(ctx context.Context, at string, err error) error {
	var slow interface{ Timeout() bool }
	if !errors.As(err, &slow) || !slow.Timeout() {
		return err
	}
	within := "in time"
	if ctx.Err() == nil {
		within = "within " + fetchTimeout.String()
	}
	return &tooLate{at + ": no answer " + within, err}
}

// tooLate is an error in other words.
type tooLate struct {
	text string
	error
}

func (e *tooLate) Error() string { return e.text }

func (e *tooLate) Unwrap() error { return e.error }

// freshness returns the max-age of a response (RFC 9111 section 5.2.2.1), the
// default if it has none that can be read.
func freshness(h http.Header) time.Duration {
	for _, field := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(field, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			if !strings.EqualFold(name, "max-age") {
				continue
			}
			if n, err := strconv.ParseUint(value, 10, 31); err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return defaultRefresh
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSetBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSetBytes {
		return nil, fmt.Errorf("is larger than %d bytes", maxSetBytes)
	}
	return data, nil
}
