package app

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/url"
	"strings"
	"sync"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/authserver"
	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/login"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// locals makes what Warder answers itself: the authorization server.
type locals struct {
	log *slog.Logger

	mu      sync.Mutex
	keyring keyring
	opened  *keys.TokenSigner
	keys    *keys.Static
	guesses *guessing.Guesses // of every server, one after the other

	sessions   *login.Sessions      // of browsers; they are sealed
	nonces     *binding.Nonces      // of proofs of possession; their keys are sealed
	assertions *assertion.Authority // whose key is sealed
}

// signer returns the signer of the authorization server. Without a keyring that
// is open its key is one that nothing is signed with: for a document that is
// only judged.
func (l *locals) signer() (*keys.TokenSigner, *keys.Static, error) {
	if l.opened != nil {
		return l.opened, l.keys, nil
	}
	var key keys.Signer
	var err error
	if l.keyring.opened != nil {
		key, err = openSigner(context.Background(), l.keyring.opened, l.keyring.state)
	} else {
		key, err = keys.NewLocalSigner()
	}
	if err != nil {
		return nil, nil, err
	}
	signer, err := keys.NewTokenSigner(key)
	if err != nil {
		return nil, nil, err
	}
	set := keys.NewStatic(signer.Keys()...)
	if l.keyring.opened != nil {
		l.opened, l.keys = signer, set
	}
	return signer, set, nil
}

// of returns what the document asks for.
func (l *locals) of(doc *config.Document) (snapshot.Local, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.keyring.open(doc); err != nil {
		return snapshot.Local{}, err
	}
	if l.keyring.opened != nil {
		l.sessions.Unlock(l.keyring.opened)
		l.nonces.Unlock(l.keyring.opened)
		if doc.Asserts() {
			l.assertions.Unlock(l.keyring.opened)
		}
	}
	as := doc.AuthorizationServer
	if as == nil {
		return snapshot.Local{}, nil
	}
	signer, set, err := l.signer()
	if err != nil {
		return snapshot.Local{}, blameKeys(doc, err)
	}
	clients := map[string]authserver.Client{}
	for _, e := range as.Clients {
		digest := e.Value.Digest()
		clients[e.Name] = authserver.Client{Secret: "sha256:" + hex.EncodeToString(digest[:]), Scopes: e.Value.Scopes, Audience: e.Value.Audience}
	}
	server, err := authserver.New(authserver.Config{
		Issuer: as.Issuer, AccessTokenLifetime: as.AccessTokenLifetime.Std(), Clients: clients, Signer: signer, Guesses: l.guesses, Spared: doc.Spared(), Log: l.log,
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
	local := snapshot.Local{Keys: map[string]keys.Set{as.Issuer: set}}
	for _, p := range server.Paths() {
		local.Routes = append(local.Routes, snapshot.LocalRoute{
			Name: "authorization-server" + p.Path, Host: host, Path: p.Path, Methods: p.Methods, Handler: server, MaxBody: 64 << 10,
		})
	}
	return local, nil
}
