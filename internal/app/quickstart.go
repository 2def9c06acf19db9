package app

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// QuickstartOptions say where the demo listens.
type QuickstartOptions struct {
	Address string // of the gateway; loopback
	Admin   string // of the admin surface; loopback
	Stderr  io.Writer
	Version string
	Started func(Demo)
}

// Demo tells what a started demo is made of.
type Demo struct {
	Folder     string // removed at the end
	GatewayURL string
	AdminURL   string
	Secret     string // of the client demo
	TokenFile  string
	Config     string
}

// Quickstart runs a gateway with an authorization server and two backends,
// all of it on loopback with state in a temporary folder, until a signal.
func Quickstart(o QuickstartOptions, signals <-chan os.Signal) (err error) {
	gateway, err := freeLoopback(o.Address)
	if err != nil {
		return err
	}
	adm, err := freeLoopback(o.Admin, gateway)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "warder-q-")
	if err != nil {
		return fmt.Errorf("cannot make a temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	backends := make([]string, 2)
	for i := range backends {
		b, err := startBackend(i + 1)
		if err != nil {
			return err
		}
		defer b.Close()
		backends[i] = "http://" + b.Addr
	}
	var random [32]byte
	rand.Read(random[:])
	secret := base64.RawURLEncoding.EncodeToString(random[:])
	path := filepath.Join(dir, "warder.yaml")
	if err := os.WriteFile(path, quickstartConfig(gateway, adm, secret, backends), 0o600); err != nil {
		return err
	}
	return Run(Options{
		Config: path, State: dir, Stdout: io.Discard, Stderr: o.Stderr, Level: slog.LevelWarn, Version: o.Version,
		Started: func(r Running) {
			o.Started(Demo{
				Folder: dir, GatewayURL: "http://" + gateway, AdminURL: "http://" + r.Admin,
				Secret: secret, TokenFile: filepath.Join(dir, TokenFile), Config: path,
			})
		},
	}, signals)
}

func quickstartConfig(gateway, adm, secret string, backends []string) []byte {
	digest := sha256.Sum256([]byte(secret))
	return fmt.Appendf(nil, `# What warder quickstart runs. Change it: it is loaded again when you save it.
listeners: [{ name: public, address: %[1]q }]
admin: { address: %[2]q }
drain: { delay: 0s, limit: 2s }

authorizationServer:                  # the embedded OAuth 2 provider, for the demo
  issuer: "http://%[1]s/auth"
  clients:
    demo: { secret: "sha256:%[3]s", scopes: [orders:read], audience: [orders-api] }

issuers:                              # who signs the tokens that routes accept
  demo: { issuer: "http://%[1]s/auth", audience: orders-api }

upstreams:
  orders: [%[4]s, %[5]s]

routes:
  - name: read-orders
    path: /orders/**
    methods: [GET]
    upstream: orders
    auth: { jwt: demo, scopes: [orders:read] }
    rateLimit: 100/min per consumer
  - name: write-orders
    path: /orders/**
    methods: [POST]
    upstream: orders
    auth: { jwt: demo, scopes: [orders:write] }
  - { name: status, path: /status, upstream: orders, auth: none, rateLimit: 60/min per ip }
`, gateway, adm, hex.EncodeToString(digest[:]), backends[0], backends[1])
}

// freeLoopback returns address, or the next one whose port is free. taken are
// addresses that were chosen already.
func freeLoopback(address string, taken ...string) (string, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%s is no address; expected 127.0.0.1:PORT", address)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return "", fmt.Errorf("quickstart serves loopback addresses only, not %q; for others write a configuration and use warder run", host)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", fmt.Errorf("%s is no port", portText)
	}
	const tries = 100
	for p := port; p < port+tries && p <= 65535; p++ {
		next := netip.AddrPortFrom(ip, uint16(p)).String()
		if len(taken) > 0 && taken[0] == next {
			continue
		}
		ln, err := net.Listen("tcp", next)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		} else if err != nil {
			return "", fmt.Errorf("cannot listen on %s: %w", next, err)
		}
		next = ln.Addr().String() // of port 0, the one that was picked
		return next, ln.Close()
	}
	return "", fmt.Errorf("no free port from %s on", address)
}

// startBackend runs one target of the demo: it says who it is and what it got.
func startBackend(n int) (*http.Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot start a demo backend: %w", err)
	}
	srv := &http.Server{
		Addr: ln.Addr().String(), ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(struct {
				Backend int    `json:"backend"`
				Method  string `json:"method"`
				Path    string `json:"path"`
			}{n, r.Method, r.URL.Path})
		}),
	}
	go srv.Serve(ln) // ends with Close
	return srv, nil
}
