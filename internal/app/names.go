package app

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/control"
)

// Names is what a configuration file says of who is who, for commands that
// name issuers, consumers and routes.
type Names struct {
	file string
	doc  *config.Document
}

// ReadNames reads a configuration file without any of its secrets.
func ReadNames(file string) (*Names, error) {
	doc, err := control.ReadOnly(file, "", idleCompiler())
	if err != nil {
		return nil, err
	}
	return &Names{file, doc}, nil
}

// Issuer returns what tokens of an issuer say in iss. It is named as in the
// file, or by that URL itself; any other URL is an error.
func (n *Names) Issuer(name string) (url string, err error) {
	var urls []string
	for _, e := range n.doc.Issuers {
		of := urlsOf(&e.Value)
		switch {
		case e.Name == name && len(of) > 1:
			return "", fmt.Errorf("issuer %s of %s has several tenants; give the URL of one: %s", name, n.file, strings.Join(of, ", "))
		case e.Name == name:
			return of[0], nil
		}
		urls = append(urls, of...)
	}
	if slices.Contains(urls, name) {
		return name, nil
	}
	names := n.doc.Issuers.Names()
	if !strings.Contains(name, "://") {
		return "", fmt.Errorf("%s has no issuer %q; expected one of %s, or a URL%s", n.file, name, strings.Join(names, ", "), perhaps(name, names))
	}
	const most = 10
	return "", fmt.Errorf("no issuer of %s is %q, byte for byte; expected one of %s%s", n.file, name,
		strings.Join(urls[:min(len(urls), most)], ", "), perhaps(name, urls))
}

// urlsOf returns what iss may be in tokens of an issuer; one URL at least.
func urlsOf(i *config.Issuer) (urls []string) {
	for _, t := range i.Accepted() {
		urls = append(urls, t.URL)
	}
	if urls == nil {
		urls = []string{i.Issuer}
	}
	return urls
}

// perhaps suggests the known word that was probably meant.
func perhaps(word string, known []string) string {
	if meant := config.DidYouMean(word, known); meant != "" {
		return "; " + meant
	}
	return ""
}

// ClockSkew returns by how much the clock of the issuer with this URL may
// differ; empty: of any.
func (n *Names) ClockSkew(url string) (most time.Duration) {
	for _, e := range n.doc.Issuers {
		if url == "" || slices.Contains(urlsOf(&e.Value), url) {
			most = max(most, e.Value.ClockSkew.Std())
		}
	}
	return most
}

// Opaque reports whether some issuer is asked about tokens, which may then
// have any form.
func (n *Names) Opaque() bool {
	return slices.ContainsFunc(n.doc.Issuers, func(e config.Entry[config.Issuer]) bool { return e.Value.Introspection != nil })
}

// TokensOf judges the name of a consumer whose tokens or sessions are meant. It
// returns why no token can be this consumer's, empty if one can. inStore says
// whether the store has a consumer of this name. A client's own name is good
// whether a consumer claims it or not.
func (n *Names) TokensOf(name string, inStore bool) (doubt string) {
	c := n.doc.Consumers.Get(name)
	issuer, client, isClient := strings.Cut(name, "/")
	switch {
	case c != nil && len(c.Clients) > 0, isClient && client != "" && n.doc.Issuers.Get(issuer) != nil:
		return ""
	case c != nil || inStore:
		return fmt.Sprintf("consumer %s has no clients of issuers in %s, so that no token is its own; keys are ended with warder key revoke", name, n.file)
	case isClient:
		return fmt.Sprintf("%s has no issuer %q, nor a consumer %q%s", n.file, issuer, name, perhaps(issuer, n.doc.Issuers.Names()))
	}
	return fmt.Sprintf("neither %s nor the store has a consumer %q%s", n.file, name, perhaps(name, n.doc.Consumers.Names()))
}

// Consumer returns where the file has a consumer of this name.
func (n *Names) Consumer(name string) (at config.Pos, ok bool) {
	if n.doc.Consumers.Get(name) == nil {
		return at, false
	}
	return n.doc.At(fmt.Sprintf("consumers[%q]", name)), true
}

// Route judges the name of a route.
func (n *Names) Route(name string) error {
	var names []string
	for _, r := range n.doc.Flatten() {
		names = append(names, r.Name)
	}
	if slices.Contains(names, name) {
		return nil
	}
	return fmt.Errorf("%s has no route %q%s", n.file, name, perhaps(name, names))
}
