package config

import (
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// pathNone is the policy of public routes. The document knows it whatever the
// catalog holds.
const pathNone = "auth.none"

// conditions are the keys of auth that prove nothing by themselves.
var conditions = []string{"scopes", "anyScope", "roles", "allRoles", "consumers", "products"}

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
			d.complainAt(n, path, strconv.Quote(cut(n.Value))+" is no way to authenticate", `write none, or an object such as { jwt: ISSUER }`)
			return true
		}
		yes := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: n.Line, Column: n.Column}
		a.Policies = Policies{pathNone: {file: d.file, path: path, n: yes}}
		return true
	case yaml.MappingNode:
		a.proofs(d, n, path)
	}
	return false
}

// proofs sees to it that an object of auth has exactly one proof.
func (a *Auth) proofs(d *decoder, n *yaml.Node, path string) {
	var proofs, rest []string
	for k, v := range pairs(n) {
		switch {
		case slices.Contains(conditions, k.Value):
			rest = append(rest, k.Value)
		case d.knows("auth."+k.Value) || slices.Contains(laterKeys(reflect.TypeFor[Auth]()), k.Value):
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
		d.complainAt(n, path, "two proofs in one object: "+proofs[0]+" and "+proofs[1], "a route takes one; to demand both is allOf, either anyOf, which are not in this build")
	case proofs[0] == "none" && len(rest) > 0:
		d.complainAt(n, path, rest[0]+" asks something of a caller whom none leaves unknown", "name a proof such as jwt: ISSUER, or remove "+rest[0])
	}
}
