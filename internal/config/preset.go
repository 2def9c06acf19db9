package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/warder-gateway/warder/internal/scalar"
)

// tenantMark stands for the id of a tenant in the issuer of an entra-id preset.
const tenantMark = "{tenantid}"

// maxTenants bounds the tenants of one issuer.
const maxTenants = 256

// Tenant is one customer of an identity provider that has many: what iss of
// its tokens is, and its id.
type Tenant struct{ URL, ID string }

// preset is what is known of an identity provider. It speaks where the
// document is silent.
type preset struct {
	algorithms []string // nil: the default
	consumer   []string
	roles      []string
	subject    []string // nil: sub

	tenant  string                                // what tenant is, for people; empty: it takes issuer
	issuer  func(tenant string) (url, why string) // of a tenant
	refuses func(path string) (why, mend string)  // of an issuer that is written, by its path
	example string                                // of what it needs
}

// presetOf returns a preset; nil if there is none of this name.
func presetOf(name string) *preset {
	switch name {
	case "okta":
		return &preset{
			algorithms: []string{"RS256"}, consumer: []string{"cid"}, roles: []string{"groups"}, subject: []string{"uid"},
			tenant: "the domain of the org", example: "tenant: acme.okta.com",
			issuer: func(t string) (string, string) { return ofDomain(t, "/oauth2/default") },
			refuses: func(path string) (string, string) {
				name, ok := strings.CutPrefix(path, "/oauth2/")
				if ok && name != "" && !strings.Contains(name, "/") {
					return "", ""
				}
				return "this is not a custom authorization server of Okta; only those issue tokens that others can verify",
					"write https://DOMAIN/oauth2/default, or the id of another authorization server in its place"
			},
		}
	case "auth0":
		return &preset{
			algorithms: []string{"RS256", "PS256"}, consumer: []string{"azp", "client_id"}, roles: []string{"permissions"},
			tenant: "the domain of the tenant", example: "tenant: acme.eu.auth0.com",
			issuer: func(t string) (string, string) { return ofDomain(t, "/") },
			refuses: func(path string) (string, string) {
				if path == "/" {
					return "", ""
				}
				return "this is not an issuer of Auth0", "write https://DOMAIN/ with its slash"
			},
		}
	case "cognito":
		return &preset{
			algorithms: []string{"RS256"}, consumer: []string{"client_id"}, roles: []string{"cognito:groups"},
			tenant: "the id of the user pool", example: "tenant: eu-central-1_AbCdEf123",
			issuer: ofPool,
			refuses: func(path string) (string, string) {
				if _, why := ofPool(strings.TrimPrefix(path, "/")); why == "" {
					return "", ""
				}
				return "this is not an issuer of Cognito", "write https://cognito-idp.REGION.amazonaws.com/POOL without a slash behind it, or tenant: POOL"
			},
		}
	case "entra-id":
		return &preset{
			algorithms: []string{"RS256"}, consumer: []string{"appid", "azp"}, roles: []string{"roles", "groups"}, subject: []string{"tid", "oid"},
			tenant: "the id of the directory", example: "tenant: 11111111-2222-3333-4444-555555555555",
			issuer: func(t string) (string, string) {
				return "https://login.microsoftonline.com/" + t + "/v2.0", notGUID(t)
			},
			refuses: func(path string) (string, string) {
				for _, word := range []string{"common", "organizations", "consumers"} {
					if strings.HasPrefix(path, "/"+word+"/") {
						return word + " is in no token: iss names the tenant", "write tenants: with the ids of those whose tokens are accepted"
					}
				}
				return "", ""
			},
		}
	case "keycloak":
		return &preset{
			consumer: []string{"azp"}, roles: []string{"realm_access.roles"},
			example: "issuer: https://sso.example.com/realms/acme",
			refuses: func(path string) (string, string) {
				i := strings.LastIndex(path, "/realms/")
				if i >= 0 && path[i+8:] != "" && !strings.Contains(path[i+8:], "/") {
					return "", ""
				}
				return "this is not an issuer of Keycloak", "write https://HOST/realms/REALM without a slash behind it"
			},
		}
	}
	return nil
}

// Recognise tells from the URL of an issuer which preset knows it, and what
// tenant makes that very issuer; a tenant of "" means that the issuer is to be
// written. A URL that a preset knows to be no issuer is recognised, too.
func Recognise(issuer string) (preset, tenant string) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return "", ""
	}
	host, path := u.Hostname(), u.EscapedPath()
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(host, s) })
	}
	switch {
	case ends(".okta.com", ".oktapreview.com", ".okta-emea.com"):
		preset, tenant = "okta", host
	case ends(".auth0.com"):
		preset, tenant = "auth0", host
	case strings.HasPrefix(host, "cognito-idp.") && ends(".amazonaws.com", ".amazonaws.com.cn"):
		preset, tenant = "cognito", first
	case host == "login.microsoftonline.com", host == "sts.windows.net":
		preset, tenant = "entra-id", first
	case ends(".microsoftonline.us", ".microsoftonline.cn", ".partner.microsoftonline.cn", ".ciamlogin.com"):
		return "entra-id", ""
	case strings.Contains(path, "/realms/"):
		return "keycloak", ""
	default:
		return "", ""
	}
	p := presetOf(preset)
	made, why := p.issuer(tenant)
	same := strings.TrimSuffix(made, "/") == strings.TrimSuffix(issuer, "/") || host == "sts.windows.net"
	if why != "" || !same || !strings.HasPrefix(issuer, "https://") {
		tenant = ""
	}
	return preset, tenant
}

// ofDomain makes the issuer at path of a domain.
func ofDomain(domain, path string) (url, why string) {
	if !isHost(domain) || !strings.Contains(domain, ".") {
		return "", strconv.Quote(cut(domain)) + " is not a whole domain"
	}
	return "https://" + domain + path, ""
}

// ofPool makes the issuer of a user pool of Cognito, whose id begins with its
// region.
func ofPool(pool string) (url, why string) {
	region, id, ok := strings.Cut(pool, "_")
	plain := func(s, more string) bool {
		return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(more, r)
		})
	}
	if !ok || strings.Count(region, "-") < 2 || !plain(region, "-") || !plain(id, "") {
		return "", strconv.Quote(cut(pool)) + " is not the id of a user pool, REGION_ID"
	}
	host := "cognito-idp." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		host += ".cn"
	}
	return "https://" + host + "/" + pool, ""
}

// notGUID says why s is not the id of a directory as tokens write it.
func notGUID(s string) string {
	ok := len(s) == 36
	for i, r := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		ok = ok && (dash && r == '-' || !dash && (r >= '0' && r <= '9' || r >= 'a' && r <= 'f'))
	}
	if ok {
		return ""
	}
	return strconv.Quote(cut(s)) + " is not the id of a directory: a GUID in lower case, not its name"
}

// preset fills in what the preset of an issuer says.
func (c *checker) preset(i *Issuer, path string) {
	written := func(key string) bool { return c.doc.root.written(under(path, key)) }
	p := presetOf(i.Preset)
	if p == nil {
		for _, key := range []string{"tenant", "tenants"} {
			if written(key) {
				c.complain(under(path, key), key+" means nothing without a preset", "add preset, or write issuer instead")
			}
		}
		switch {
		case i.Issuer == "" && written("issuer"):
			c.complain(under(path, "issuer"), "it is empty", "")
		case i.Issuer == "":
			c.complain(path, "issuer is missing", "")
		}
		return
	}
	if p.algorithms != nil && !written("algorithms") {
		i.Algorithms = p.algorithms
	}
	if !written("consumer") {
		i.Consumer = p.consumer
	}
	if !written("roles") {
		i.Roles = p.roles
		if i.Preset == "keycloak" {
			// Roles at an API are meant for it. Those at other clients are not
			// taken: their names are not ours.
			for _, a := range i.Audience {
				i.Roles = append(i.Roles[:len(i.Roles):len(i.Roles)], "resource_access."+a+".roles")
			}
		}
	}
	c.tenants(i, p, path)
	switch {
	case i.Preset == "cognito" && len(i.ClientIDs) == 0:
		c.complain(under(path, "clientIds"), "preset cognito needs clientIds: its access tokens have no aud", "list the ids of the app clients that may call")
	case i.Preset == "keycloak" && len(i.Audience) == 0 && len(i.ClientIDs) == 0:
		c.complain(under(path, "audience"), "an issuer needs an audience: tokens for another API must not open this one",
			"add audience; Keycloak puts one into tokens only where a client scope has an audience mapper, so add that too")
	}
}

// tenants makes the issuer out of the tenants.
func (c *checker) tenants(i *Issuer, p *preset, path string) {
	at, many := under(path, "tenant"), under(path, "tenants")
	entra := i.Preset == "entra-id"
	ids := i.Tenants
	switch {
	case p.tenant == "" && i.Tenant != "":
		c.complain(at, "preset "+i.Preset+" takes no tenant", "write "+p.example)
		return
	case !entra && c.doc.root.written(many):
		c.complain(many, "preset "+i.Preset+" has one tenant per issuer", "write one issuer for each, and name them all at the routes")
		return
	case i.Tenant != "" && len(ids) > 0:
		c.complain(many, "tenant and tenants are both written", "remove one")
		return
	case i.Tenant == "" && len(ids) == 0 && i.Issuer == "":
		need := p.example
		if entra {
			need += ", or tenants: with several"
		}
		c.complain(path, "preset "+i.Preset+" needs to know whose tokens these are", "write "+need)
		return
	case !entra && i.Tenant != "" && i.Issuer != "":
		c.complain(at, "tenant and issuer are both written, and the issuer follows from tenant", "remove one")
		return
	case len(ids) > maxTenants:
		c.complain(many, fmt.Sprintf("%d tenants; at most %d are allowed", len(ids), maxTenants), "spread them over several issuers")
		return
	}
	if i.Tenant != "" {
		ids = scalar.List[string]{i.Tenant}
	} else {
		c.strings(ids, many)
	}
	for n, id := range ids {
		if _, why := p.issuer(id); why != "" {
			place := at
			if i.Tenant == "" {
				place = item(many, n)
			}
			c.complain(place, why, "it is "+p.tenant+", such as "+strings.TrimPrefix(p.example, "tenant: "))
			return
		}
	}
	if i.Issuer == "" {
		c.derive(i, p, ids)
		return
	}
	c.writtenIssuer(i, p, path, ids)
}

// derive makes the issuer of a preset, and where its keys are.
func (c *checker) derive(i *Issuer, p *preset, ids []string) {
	i.Issuer, _ = p.issuer(ids[0])
	if i.Preset != "entra-id" {
		return
	}
	keys := ids[0]
	if len(ids) > 1 {
		i.Issuer, _ = p.issuer(tenantMark)
		keys = "common"
	}
	if i.JWKSURI == "" && i.JWKSFile == "" {
		i.JWKSURI = "https://login.microsoftonline.com/" + keys + "/discovery/v2.0/keys"
	}
	for _, id := range ids {
		v2, _ := p.issuer(id)
		i.accepted = append(i.accepted, Tenant{v2, id}, Tenant{"https://sts.windows.net/" + id + "/", id})
	}
}

// writtenIssuer judges an issuer that is written beside a preset.
func (c *checker) writtenIssuer(i *Issuer, p *preset, path string, ids []string) {
	at := under(path, "issuer")
	marked := strings.Contains(i.Issuer, tenantMark)
	u, err := url.Parse(strings.ReplaceAll(i.Issuer, tenantMark, "tenant"))
	if err != nil {
		return // it is judged as any issuer
	}
	if why, mend := p.refuses(u.EscapedPath()); why != "" {
		c.complain(at, why, mend)
		return
	}
	switch {
	case marked && len(ids) == 0:
		c.complain(at, tenantMark+" stands for nobody", "write tenants: with the ids of those whose tokens are accepted")
	case marked && len(ids) > 1 && i.JWKSURI == "" && i.JWKSFile == "":
		c.complain(at, "an issuer of several tenants has no discovery document of its own", "write jwksUri as well")
	case !marked && len(ids) > 1:
		c.complain(at, "one issuer for several tenants", "write "+tenantMark+" where the id of the tenant stands")
	}
	for _, id := range ids {
		i.accepted = append(i.accepted, Tenant{strings.ReplaceAll(i.Issuer, tenantMark, id), id})
	}
	if len(ids) == 1 {
		i.Issuer = i.accepted[0].URL
	}
}

// Accepted lists the tenants whose tokens are accepted, with what iss must
// be, where the issuer has tenants; nil: iss must be Issuer.
func (i *Issuer) Accepted() []Tenant { return slices.Clone(i.accepted) }

// Subject lists the claims that together say who somebody is.
func (i *Issuer) Subject() []string {
	if p := presetOf(i.Preset); p != nil && p.subject != nil {
		return p.subject
	}
	return []string{"sub"}
}
