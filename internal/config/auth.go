package config

import (
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// pathNone is the policy of public routes. The document knows it whatever the
// catalog holds.
const pathNone = "auth.none"

// conditions are the keys of auth that prove nothing by themselves.
var conditions = []string{"scopes", "anyScope", "roles", "allRoles", "consumers", "products"}

// ofIssuers are the proofs that name who gave them.
var ofIssuers = []string{"jwt", "introspect", "login"}

// The lists that join proofs.
const (
	anyOf = "anyOf"
	allOf = "allOf"

	maxProofs = 8 // objects of one list; a request's trail has room for them
)

// Public reports whether nothing has to be proved.
func (a *Auth) Public() bool {
	_, ok := a.Policies[pathNone]
	return ok
}

// short takes the word none.
func (a *Auth) short(d *decoder, n *yaml.Node, path string) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Value != "none" {
			d.complainAt(n, path, strconv.Quote(cut(n.Value))+" is no way to authenticate", d.authMend(n.Value))
			return true
		}
		yes := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: n.Line, Column: n.Column}
		a.Policies = Policies{pathNone: {file: d.file, path: path, n: yes}}
		return true
	case yaml.MappingNode:
		if !d.joined(n, path) {
			d.proofs(n, path)
		}
	}
	return false
}

// authMend says how a word becomes a way to authenticate.
func (d *decoder) authMend(word string) string {
	switch {
	case !d.isProof(word):
		return "write none, or an object such as { jwt: ISSUER } or { apiKey: true }"
	case slices.Contains(ofIssuers, word):
		return "write { " + word + ": ISSUER }"
	}
	return "write { " + word + ": true }"
}

// short remembers the place, and sees to it that it is an object of its own.
func (p *Proof) short(d *decoder, n *yaml.Node, path string) bool {
	p.node = Node{file: d.file, path: path, n: n}
	if n.Kind == yaml.ScalarNode && n.Value == "none" {
		d.complainAt(n, path, noneInside, noneMend)
		return true
	}
	if n.Kind != yaml.MappingNode {
		return false
	}
	for k := range pairs(n) {
		switch k.Value {
		case anyOf, allOf:
			d.complainAt(k, under(path, k.Value), k.Value+" cannot stand inside another list", "write what is meant as one list: each object of anyOf holds one proof and its conditions")
			return true
		case "none":
			d.complainAt(k, under(path, "none"), noneInside, noneMend)
			return true
		}
	}
	d.proofs(n, path)
	return false
}

const (
	noneInside = "none inside a list would say nothing of who is calling"
	noneMend   = "write auth: none for a public route, or remove it from the list"
)

// joined reports whether an object of auth is a list of proofs, and judges
// that there is nothing beside it.
func (d *decoder) joined(n *yaml.Node, path string) bool {
	list := ""
	for k := range pairs(n) {
		if k.Value == anyOf || k.Value == allOf {
			list = k.Value
			break
		}
	}
	if list == "" {
		return false
	}
	for k, v := range pairs(n) {
		at := under(path, k.Value)
		switch {
		case k.Value == list:
			d.proofList(v, at)
		case k.Value == anyOf || k.Value == allOf:
			d.complainAt(k, at, list+" and "+k.Value+" stand side by side", "a route has one list: keep "+list+" or "+k.Value)
		case slices.Contains(conditions, k.Value):
			d.complainAt(k, at, k.Value+" stands beside "+list+", where it would be no part of any proof", "write it into each object of "+list+" that it is meant for")
		case d.isProof(k.Value):
			d.complainAt(k, at, k.Value+" stands beside "+list, "make it an object of the list: { "+k.Value+": … }")
		}
	}
	return true
}

// proofList judges the length of a list of proofs.
func (d *decoder) proofList(n *yaml.Node, path string) {
	if n.Kind != yaml.SequenceNode {
		return // the decoder complains
	}
	switch count := len(n.Content); {
	case count == 0:
		d.complainAt(n, path, "an empty list lets nobody in", "list objects with a proof such as { jwt: ISSUER }, or write auth: none to make the route public")
	case count > maxProofs:
		d.complainAt(n, path, "lists "+strconv.Itoa(count)+" objects; at most "+strconv.Itoa(maxProofs)+" are allowed", "one jwt object may name several issuers")
	}
}

// isProof reports whether a key of auth says how callers prove who they are.
func (d *decoder) isProof(key string) bool {
	return !slices.Contains(conditions, key) && (d.knows("auth."+key) || slices.Contains(laterProofs, key))
}

// proofs sees to it that an object of auth has exactly one proof.
func (d *decoder) proofs(n *yaml.Node, path string) {
	var proofs, rest []string
	for k, v := range pairs(n) {
		switch {
		case slices.Contains(conditions, k.Value):
			rest = append(rest, k.Value)
		case d.isProof(k.Value):
			proofs = append(proofs, k.Value)
			if k.Value == "none" && v.Value != "true" {
				d.complainAt(v, under(path, "none"), "none can only be true", "write auth: none, or remove it")
			}
		default:
			return // an unknown key may be the proof
		}
	}
	switch {
	case len(proofs) == 0:
		d.complainAt(n, path, "there is no proof of who is calling", "add one such as jwt: ISSUER or apiKey: true, or write auth: none")
	case len(proofs) > 1:
		one, other := proofs[0], proofs[1]
		mend := "write allOf: [{ " + one + ": … }, { " + other + ": … }] to demand both, or anyOf to take either"
		if slices.Contains(proofs, "none") {
			mend = "write auth: none for a public route, or remove none"
		}
		d.complainAt(n, path, "two proofs in one object: "+one+" and "+other, mend)
	case proofs[0] == "none" && len(rest) > 0:
		d.complainAt(n, path, rest[0]+" asks something of a caller whom none leaves unknown", "name a proof such as jwt: ISSUER, or remove "+rest[0])
	}
}
