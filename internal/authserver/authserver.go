// Package authserver is the embedded OAuth 2 authorization server. It issues
// access tokens, publishes the keys that verify them, and describes itself.
//
// Of the grants it knows client_credentials (RFC 6749 section 4.4): a client
// that proves itself with its secret gets a signed access token (RFC 9068)
// that says who the client is, which APIs the token is for and what it allows.
// Each endpoint and each grant is a file of its own, and the discovery
// documents list what these files do and nothing else.
//
// The server has no private door into the data plane: its tokens are checked
// like anybody's. It keeps no state but Guesses: the memory of wrong secrets
// that slows down the next ones.
package authserver

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
)

// Config is what the authorization server is made of.
type Config struct {
	// Issuer is the server's identifier and the base of its addresses: https,
	// or http on a loopback host; no query, no fragment, no final slash.
	Issuer string
	// AccessTokenLifetime is how long a token is good for: whole seconds, at
	// most an hour. 0 means five minutes.
	AccessTokenLifetime time.Duration
	// Clients are the applications that may ask for tokens, by client id.
	Clients map[string]Client
	// Signer signs the tokens.
	Signer *keys.TokenSigner
	// Guesses remembers wrong secrets. A server that takes another one's place
	// takes its Guesses too, or a change of the configuration would forget who
	// is being slowed down. nil means that the server begins with none.
	Guesses *guessing.Guesses
	// Spared are the networks whose wrong secrets are not counted.
	Spared guessing.Spared
	// Now is the clock. nil means time.Now.
	Now func() time.Time
	// Log is told what only the operator may know. nil means nobody is told.
	Log *slog.Logger
}

// Client is an application that may ask for tokens in its own name.
type Client struct {
	// Secret is "sha256:" and the SHA-256 digest, in lower-case hex, of the
	// client's secret.
	Secret string
	// Scopes are what the client may ask for. It may be empty.
	Scopes []string
	// Audience are the APIs the client may call; at least one.
	Audience []string
}

// Path is a path that the server answers, and with which methods. HEAD goes
// with GET.
type Path struct {
	Path    string
	Methods []string
}

// Server is the authorization server. It is immutable but for its Guesses, and
// safe for concurrent use.
//
// It trusts http.Request.RemoteAddr to be the client's address as seen past
// trusted proxies, and leaves it to whoever serves it to bound the time a
// request body may take.
type Server struct {
	issuer    string
	lifetime  time.Duration
	clients   map[string]*client
	signer    *keys.TokenSigner
	now       func() time.Time
	log       *slog.Logger
	unknown   [32]byte // digest that stands for the secret of unknown clients
	guesses   *guessing.Guesses
	spared    guessing.Spared
	endpoints []endpoint
}

// endpoint is one address of the server.
type endpoint struct {
	path   string
	method string // GET, with HEAD; or POST
	serve  http.HandlerFunc
}

// New makes a server of cfg. Its error joins a *pipeline.Problem for each
// thing that is wrong with cfg, in a fixed order.
func New(cfg Config) (*Server, error) {
	issuer, clients, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{
		issuer:   cfg.Issuer,
		lifetime: cfg.AccessTokenLifetime,
		clients:  clients,
		signer:   cfg.Signer,
		now:      cfg.Now,
		log:      cfg.Log,
		guesses:  cfg.Guesses,
		spared:   cfg.Spared,
	}
	if s.lifetime == 0 {
		s.lifetime = defaultLifetime
	}
	if s.guesses == nil {
		s.guesses = guessing.NewGuesses()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	rand.Read(s.unknown[:]) // never fails
	s.endpoints = s.list(issuer)
	return s, nil
}

// list returns the endpoints of the server.
func (s *Server) list(issuer *url.URL) []endpoint {
	base := issuer.Path
	discovery := s.discovery()
	return []endpoint{
		{base + tokenPath, http.MethodPost, s.token},
		{base + jwksPath, http.MethodGet, s.jwks},
		{base + "/.well-known/openid-configuration", http.MethodGet, discovery},
		// RFC 8414 section 3.1 puts the issuer's path behind the well-known one.
		{"/.well-known/oauth-authorization-server" + base, http.MethodGet, discovery},
	}
}

// Paths returns the paths the server answers, below the issuer's host. Every
// other path is 404, every other method 405.
func (s *Server) Paths() []Path {
	paths := make([]Path, len(s.endpoints))
	for i, e := range s.endpoints {
		paths[i] = Path{Path: e.path, Methods: []string{e.method}}
	}
	return paths
}

// ServeHTTP answers the server's paths.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, e := range s.endpoints {
		if e.path != r.URL.Path {
			continue
		}
		if r.Method == e.method || e.method == http.MethodGet && r.Method == http.MethodHead {
			e.serve(w, r)
			return
		}
		allow := e.method
		if e.method == http.MethodGet {
			allow = "GET, HEAD"
		}
		w.Header().Set("Allow", allow)
		reply(w, r, http.StatusMethodNotAllowed, "no-store", nil)
		return
	}
	reply(w, r, http.StatusNotFound, "no-store", nil)
}

// reply writes a whole response. body is JSON, or nil.
func reply(w http.ResponseWriter, r *http.Request, status int, cacheControl string, body []byte) {
	h := w.Header()
	if body != nil {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", cacheControl)
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body) // a client that is gone is nobody's error
	}
}
