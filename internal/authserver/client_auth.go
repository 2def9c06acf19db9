package authserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/warder-gateway/warder/internal/guessing"
)

// authenticate returns the client that made the request, proved by its secret:
// client_secret_basic or client_secret_post (RFC 6749 section 2.3.1), never
// both and never anything else.
func (s *Server) authenticate(r *http.Request, params form) (*client, error) {
	id, secret, err := credential(r, params)
	if err != nil {
		return nil, err
	}
	// A client that is not known takes the same path and the same time as one
	// that is: one digest, one comparison, one place in the memory of guesses.
	c, known := s.clients[id]
	want := s.unknown
	if known {
		want = c.digest
	}
	got := sha256.Sum256([]byte(secret))
	right := subtle.ConstantTimeCompare(got[:], want[:]) == 1
	addr := clientAddr(r)
	if s.spared.Contains(addr) { // nothing is counted
		if !known || !right {
			return nil, errClient
		}
		return c, nil
	}
	from := guessing.Network(addr)
	v := s.guesses.Judge(id, known, from, s.now(), right)
	// Only names of the configuration are logged; what strangers make up is not.
	if known && v.Slowed > 0 {
		s.log.WarnContext(r.Context(), "client slowed down after wrong secrets", "client", id, "from", from, "for", v.Slowed)
	}
	if known && v.SlowedAll > 0 {
		s.log.WarnContext(r.Context(), "client slowed down after wrong secrets from many networks, except where it proved itself before", "client", id, "for", v.SlowedAll)
	}
	if !v.Proved {
		return nil, errClient
	}
	return c, nil
}

// credential returns the client id and secret of a request, neither empty.
func credential(r *http.Request, params form) (id, secret string, err error) {
	authorization := r.Header.Values("Authorization")
	_, hasSecret := params["client_secret"]
	_, hasAssertion := params["client_assertion"]
	_, hasAssertionType := params["client_assertion_type"]
	ways := len(authorization)
	if hasSecret {
		ways++
	}
	if hasAssertion || hasAssertionType {
		ways++
	}
	switch {
	case ways > 1:
		return "", "", errTwoMethods
	case hasSecret:
		id, secret = params["client_id"], params["client_secret"]
	case len(authorization) == 1:
		var ok bool
		if id, secret, ok = parseBasic(authorization[0]); !ok {
			return "", "", errClient
		}
		// Many clients send their id in the body too; it must be the same one.
		if again, ok := params["client_id"]; ok && again != id {
			return "", "", errTwoClients
		}
	}
	if id == "" || secret == "" {
		return "", "", errClient
	}
	return id, secret, nil
}

// parseBasic reads a Basic credential whose two halves are form-encoded
// (RFC 6749 section 2.3.1, RFC 7617).
func parseBasic(field string) (id, secret string, ok bool) {
	scheme, encoded, ok := strings.Cut(field, " ")
	if !ok || !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	id, secret, ok = strings.Cut(string(pair), ":")
	if !ok {
		return "", "", false
	}
	id, err = url.QueryUnescape(id)
	if err != nil {
		return "", "", false
	}
	secret, err = url.QueryUnescape(secret)
	if err != nil || !utf8.ValidString(id) || !utf8.ValidString(secret) {
		return "", "", false
	}
	return id, secret, true
}

// clientAddr returns the address the request came from; the zero address, which
// counts as one too, if it cannot be read.
func clientAddr(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr()
}
