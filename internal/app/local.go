package app

import (
	"encoding/hex"
	"log/slog"
	"net/url"
	"strings"
	"sync"

	"github.com/warder-gateway/warder/internal/authserver"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// locals makes what Warder answers itself: the authorization server.
type locals struct {
	signer string // path of the signing key
	log    *slog.Logger

	mu      sync.Mutex
	opened  *keys.Signer
	keys    *keys.Static
	guesses *authserver.Guesses // of every server, one after the other
}

// of returns what the document asks for.
func (l *locals) of(doc *config.Document) (snapshot.Local, error) {
	as := doc.AuthorizationServer
	if as == nil {
		return snapshot.Local{}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opened == nil {
		signer, err := keys.OpenSigner(l.signer)
		if err != nil {
			return snapshot.Local{}, err
		}
		l.opened, l.keys, l.guesses = signer, keys.NewStatic(signer.Keys()...), authserver.NewGuesses()
	}
	clients := map[string]authserver.Client{}
	for _, e := range as.Clients {
		digest := e.Value.Digest()
		clients[e.Name] = authserver.Client{Secret: "sha256:" + hex.EncodeToString(digest[:]), Scopes: e.Value.Scopes, Audience: e.Value.Audience}
	}
	server, err := authserver.New(authserver.Config{
		Issuer: as.Issuer, AccessTokenLifetime: as.AccessTokenLifetime.Std(), Clients: clients, Signer: l.opened, Guesses: l.guesses, Log: l.log,
	})
	if err != nil {
		return snapshot.Local{}, err
	}
	issuer, err := url.Parse(as.Issuer)
	if err != nil {
		return snapshot.Local{}, err
	}
	host := issuer.Hostname()
	if strings.Contains(host, ":") { // IPv6
		host = "[" + host + "]"
	}
	local := snapshot.Local{Keys: map[string]keys.Set{as.Issuer: l.keys}}
	for _, p := range server.Paths() {
		local.Routes = append(local.Routes, snapshot.LocalRoute{
			Name: "authorization-server" + p.Path, Host: host, Path: p.Path, Methods: p.Methods, Handler: server, MaxBody: 64 << 10,
		})
	}
	return local, nil
}
