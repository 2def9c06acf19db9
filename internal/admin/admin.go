// Package admin is the surface operators use: health for load balancers,
// metrics, the state of the configuration, and explanations of past and
// made-up requests. It holds no logic of its own.
//
// Everything but health needs the admin token; what is not listed is refused.
package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/events"
)

// Config is what the surface shows. Every field is required.
type Config struct {
	Address     string   // as configured; its host is one that requests may name
	TokenDigest [32]byte // SHA-256 of the admin token
	Metrics     http.Handler
	MetricsOpen func() bool                   // /metrics needs no token
	Ready       func() (word string, ok bool) // whether it may be sent traffic, and a word on it
	Status      func() control.Status
	Explainer   Explainer
	Log         *slog.Logger
}

// Explainer answers why. Its errors are NotFound or are shown as they are.
type Explainer interface {
	// Past explains a request by its id, or the word last.
	Past(id string) (*events.Explanation, error)
	// Judge explains a request that was made up: nothing is charged, nothing
	// is sent, nothing is recorded.
	Judge(q Question) (*events.Explanation, error)
	// Route tells how a route was compiled.
	Route(name string) (any, error)
}

// Question is a made-up request.
type Question struct {
	Method  string   `json:"method"`
	URL     string   `json:"url"`
	Headers []string `json:"headers"` // "Name: value"
	Client  string   `json:"client"`  // address it comes from; empty: 127.0.0.1
}

// ErrNotFound says that there is no such request or route.
var ErrNotFound = errors.New("not found")

const maxQuestion = 64 << 10 // bytes of a question

type endpoint struct {
	pattern string
	door    func(c *Config, r *http.Request) *problem // why the request may not go on; nil: it may
	serve   func(c *Config, w http.ResponseWriter, r *http.Request) error
}

// endpoints are all there is.
var endpoints = []endpoint{
	{"GET /livez", anybody, livez},
	{"GET /readyz", anybody, readyz},
	{"GET /metrics", scraper, metrics},
	{"GET /v1/status", operator, status},
	{"GET /v1/requests/{id}", operator, past},
	{"POST /v1/explain", operator, judge},
	{"GET /v1/routes/{name...}", operator, routeDetail},
}

// Handler returns the admin surface.
func Handler(cfg Config) http.Handler {
	return guard(&cfg, endpoints)
}

// Health returns the part for load balancers alone: /livez and /readyz.
func Health(ready func() (word string, ok bool)) http.Handler {
	return guard(&Config{Ready: ready, Log: slog.New(slog.DiscardHandler)}, endpoints[:2])
}

func guard(cfg *Config, list []endpoint) http.Handler {
	mux := http.NewServeMux()
	for _, e := range list {
		mux.Handle(e.pattern, &guarded{cfg, e})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'")
		// Without a token nobody learns what exists, be it by a redirect to the
		// clean form of a path.
		if found, _ := mux.Handler(r); !isGuarded(found) && operator(cfg, r) != nil {
			unauthorized.write(w)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// guarded is an endpoint behind its door.
type guarded struct {
	cfg *Config
	endpoint
}

func isGuarded(h http.Handler) bool {
	_, ok := h.(*guarded)
	return ok
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if problem := g.door(g.cfg, r); problem != nil {
		problem.write(w)
		return
	}
	if err := g.serve(g.cfg, w, r); err != nil {
		asProblem(err).write(w)
	}
}

// The doors, from the widest to the narrowest.

func anybody(*Config, *http.Request) *problem { return nil }

func scraper(c *Config, r *http.Request) *problem {
	if c.MetricsOpen() {
		return c.stranger(r)
	}
	return operator(c, r)
}

func operator(c *Config, r *http.Request) *problem {
	if p := c.stranger(r); p != nil {
		return p
	}
	token, ok := bearer(r)
	digest := sha256.Sum256([]byte(token))
	var unset [32]byte
	if !ok || c.TokenDigest == unset || subtle.ConstantTimeCompare(digest[:], c.TokenDigest[:]) != 1 {
		return unauthorized
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
			return &problem{http.StatusUnsupportedMediaType, "media_type_unsupported", "Send application/json."}
		}
	}
	return nil
}

// stranger refuses what a browser was led to send by a page of another site.
func (c *Config) stranger(r *http.Request) *problem {
	if !c.hostAllowed(r.Host) {
		return &problem{http.StatusMisdirectedRequest, "host_unknown", "The admin interface is not served under this name."}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return &problem{http.StatusForbidden, "cross_site", "Requests from other sites are refused."}
	}
	if o := r.Header.Get("Origin"); o != "" && o != "http://"+r.Host && o != "https://"+r.Host {
		return &problem{http.StatusForbidden, "cross_site", "Requests from other origins are refused."}
	}
	return nil
}

// hostAllowed guards against DNS rebinding: a page of another site whose name
// was pointed at this address.
func (c *Config) hostAllowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && a.Unmap().IsLoopback() {
		return true
	}
	own, _, _ := net.SplitHostPort(c.Address)
	return strings.EqualFold(name, "localhost") || own != "" && strings.EqualFold(name, own)
}

func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// problem is an error answer (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Title  string `json:"title"`
}

var unauthorized = &problem{http.StatusUnauthorized, "credential_missing", "The admin token is required."}

func (p *problem) Error() string { return p.Title }

func (p *problem) write(w http.ResponseWriter) {
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="warder admin"`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

func asProblem(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, ErrNotFound):
		return &problem{http.StatusNotFound, "not_found", err.Error()}
	}
	return &problem{http.StatusBadRequest, "request_invalid", err.Error()}
}

func livez(_ *Config, w http.ResponseWriter, _ *http.Request) error {
	return word(w, http.StatusOK, "ok")
}

func readyz(c *Config, w http.ResponseWriter, _ *http.Request) error {
	text, ok := c.Ready()
	if !ok {
		return word(w, http.StatusServiceUnavailable, text)
	}
	return word(w, http.StatusOK, text)
}

func word(w http.ResponseWriter, status int, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n") // a caller that is gone is nobody's error
	return nil
}

func metrics(c *Config, w http.ResponseWriter, r *http.Request) error {
	c.Metrics.ServeHTTP(w, r)
	return nil
}

func status(c *Config, w http.ResponseWriter, _ *http.Request) error { return reply(w, c.Status()) }

func past(c *Config, w http.ResponseWriter, r *http.Request) error {
	e, err := c.Explainer.Past(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, e)
}

func judge(c *Config, w http.ResponseWriter, r *http.Request) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion))
	d.DisallowUnknownFields()
	var q Question
	if err := d.Decode(&q); err != nil || d.More() {
		return &problem{http.StatusBadRequest, "body_invalid", "The question is not the JSON that is expected."}
	}
	e, err := c.Explainer.Judge(q)
	if err != nil {
		return err
	}
	return reply(w, e)
}

func routeDetail(c *Config, w http.ResponseWriter, r *http.Request) error {
	detail, err := c.Explainer.Route(r.PathValue("name"))
	if err != nil {
		return err
	}
	return reply(w, detail)
}

func reply(w http.ResponseWriter, body any) error {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body) // likewise
	return nil
}

// Server returns an http.Server for h with the bounds that strangers need.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
