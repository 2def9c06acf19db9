package app

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/url"
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

	mu     sync.Mutex
	opened *keys.Signer
	keys   *keys.Static
	last   *authserver.Server // the server of hash, kept for its memory of guesses
	hash   string
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
		l.opened, l.keys = signer, keys.NewStatic(signer.Keys()...)
	}
	clients := map[string]authserver.Client{}
	h := sha256.New()
	fmt.Fprintf(h, "%q %d\n", as.Issuer, as.AccessTokenLifetime)
	for _, e := range as.Clients {
		digest := e.Value.Digest()
		c := authserver.Client{Secret: "sha256:" + hex.EncodeToString(digest[:]), Scopes: e.Value.Scopes, Audience: e.Value.Audience}
		clients[e.Name] = c
		fmt.Fprintf(h, "%q %q %q %q\n", e.Name, c.Secret, c.Scopes, c.Audience)
	}
	hash := string(h.Sum(nil))
	if l.last == nil || l.hash != hash {
		server, err := authserver.New(authserver.Config{
			Issuer: as.Issuer, AccessTokenLifetime: as.AccessTokenLifetime.Std(), Clients: clients, Signer: l.opened, Log: l.log,
		})
		if err != nil {
			return snapshot.Local{}, err
		}
		l.last, l.hash = server, hash
	}
	issuer, err := url.Parse(as.Issuer)
	if err != nil {
		return snapshot.Local{}, err
	}
	host := issuer.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	local := snapshot.Local{Keys: map[string]keys.Set{as.Issuer: l.keys}}
	for _, p := range l.last.Paths() {
		local.Routes = append(local.Routes, snapshot.LocalRoute{
			Name: "authorization-server" + p.Path, Host: host, Path: p.Path, Methods: p.Methods, Handler: l.last, MaxBody: 64 << 10,
		})
	}
	return local, nil
}
