package snapshot

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// redirectName is a name that no route of a document can have.
const redirectName = "redirect/https"

// addRedirect makes the route that answers on listeners which only redirect,
// if there is one. It stands in no index: it takes every request there, and
// none elsewhere.
func (b *build) addRedirect() {
	if !slices.ContainsFunc(b.s.Listeners, func(l *Listener) bool { return l.Redirect }) {
		return
	}
	port := "443"
	if i := slices.IndexFunc(b.s.Listeners, func(l *Listener) bool { return l.TLS != nil }); i >= 0 {
		_, port, _ = net.SplitHostPort(b.s.Listeners[i].Address)
	}
	b.addLocal(LocalRoute{Name: redirectName, Path: "/**", Handler: redirect(port)})
	r := &b.s.routes[len(b.s.routes)-1]
	r.secured = false
	b.s.redirect = r
}

// redirect answers every request with where to ask over HTTPS. The request was
// judged before: its authority is well-formed and its path normal.
func redirect(port string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
			host = host[:i]
		}
		if port != "443" {
			host += ":" + port
		}
		target := r.RequestURI
		if target == "*" {
			target = "/"
		}
		w.Header().Set("Location", "https://"+host+target)
		w.WriteHeader(http.StatusPermanentRedirect)
	})
}
