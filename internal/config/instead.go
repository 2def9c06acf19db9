package config

import (
	"slices"

	"go.yaml.in/yaml/v4"
)

// instead is a type that knows what to write in place of keys it does not
// have: those of an earlier build, those that belong elsewhere, those that
// other gateways use. value is the key's value if it is a scalar. Empty: it
// knows nothing of the key.
type instead interface {
	Instead(key, value string) string
}

// remedy says what to write in place of an unknown key of v; empty: nothing
// is known of it.
func remedy(v any, key string, val *yaml.Node) string {
	i, ok := v.(instead)
	if !ok {
		return ""
	}
	text := ""
	if val.Kind == yaml.ScalarNode {
		text = cut(val.Value)
	}
	return i.Instead(key, text)
}

// Instead answers to words of other gateways; the README has a table of them.
func (*Document) Instead(key, _ string) string {
	switch key {
	case "server", "servers", "listen", "listener", "entryPoints", "virtualHosts":
		return "addresses to listen on stand under listeners"
	case "location", "locations", "route", "routers", "proxyEndpoints":
		return "paths stand under routes, each with an upstream and auth"
	case "service", "services", "backend", "backends", "upstream", "cluster", "clusters", "targets":
		return "the servers of an API stand under upstreams: { NAME: [URL, URL] }"
	case "plugin", "plugins", "middleware", "middlewares", "filters", "policies":
		return "what is asked of requests stands on the routes, such as auth and rateLimit, or under defaults for all of them"
	case "auth", "rateLimit":
		return "it belongs on a route, or under defaults for all of them"
	}
	return ""
}

// Instead answers to words that stand one step too high, and to words of other
// gateways.
func (*Settings) Instead(key, _ string) string {
	switch {
	case slices.Contains(conditions, key):
		return key + " belongs under auth: auth: { …, " + key + ": … }"
	case slices.Contains(laterProofs, key):
		return key + " belongs under auth: auth: { " + key + ": … }"
	}
	switch key {
	case "location", "uri", "uris", "paths", "prefix":
		return "a route has one path: /NAME/** with all below it"
	case "backend", "backend_url", "service", "cluster", "proxy_pass", "target":
		return "write upstream: NAME, a name of upstreams, which lists the servers"
	case "plugin", "plugins", "middleware", "middlewares", "filters", "policies":
		return "what is asked of requests are keys of the route, such as auth and rateLimit"
	}
	return ""
}
