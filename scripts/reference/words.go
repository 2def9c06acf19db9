package main

// words say what a key means, and what holds without it where that cannot be
// read off the decode types.
type words struct{ meaning, def string }

const values = "## How values are written\n\n" +
	"| type | written as |\n|---|---|\n" +
	"| duration | `500ms`, `5s`, `10m`, `1h30m`, `30d` |\n" +
	"| size | `64KiB`, `1MiB`, `2GiB` |\n" +
	"| date | `2027-01-31`; the day ends at 24:00 UTC |\n" +
	"| address | `127.0.0.1:8080`, `:8443`, `localhost:8080`, or from the environment: `\"${env:LISTEN:-:8443}\"` |\n" +
	"| file | a path, relative to the file it stands in |\n" +
	"| secret | a reference, `\"${env:NAME}\"` or `\"${file:PATH}\"`; where a digest is meant also `\"sha256:…\"` |\n" +
	"| name | up to 63 letters, digits, `.`, `-`, `_`, the first a letter or digit |\n\n" +
	"Scalars are what the key says, not what YAML guesses. Anchors, merge keys and tags are refused, and so is a second document in the file."

// valueWords name the types of single values.
var valueWords = map[string]string{
	"scalar.Duration":      "duration",
	"scalar.Timeout":       "duration, or `unlimited`",
	"scalar.Size":          "size",
	"scalar.Date":          "date",
	"secret.Value":         "secret",
	"config.File":          "file",
	"config.Address":       "address",
	"config.Thumbprint":    "64 hex digits, with or without colons",
	"config.Digest":        "`\"sha256:…\"`, 64 hex digits",
	"config.Network":       "CIDR, such as `10.0.0.5/32`",
	"config.Node":          "a [limit](#ratelimit)",
	"config.ListenerTLS":   "object, or `none`",
	"config.Upstream":      "object, or a list of targets",
	"config.Target":        "URL",
	"config.Counters":      "`memory`, an address, or an object",
	"config.UpstreamTLS":   "object",
	"config.Timeout":       "object, or a duration: the total",
	"config.UpstreamRef":   "name of an upstream",
	"config.Auth":          "object, or `none`",
	"config.Sink":          "`stdout`, or an object",
	"config.Named[string]": "by name of the field: text",
}

// typeWords say what an object is for.
var typeWords = map[string]string{
	"Document":            "One YAML or JSON file.",
	"Listener":            "An address that serves the public side. Plain HTTP beyond loopback has to be asked for with `tls: none`.",
	"ProxyProtocol":       "Who speaks the PROXY protocol. Not a matter of trust in fields: `trustedProxies` is held against the address that the header names.",
	"ListenerTLS":         "HTTPS, with HTTP/1.1 and HTTP/2. Certificates are picked by server name and read again when the files change.",
	"ClientAuth":          "Certificates of callers. On a listener that asks for them, a connection serves the one host that it was opened for (SNI); others are 421.",
	"CertHeader":          "Which proxies forward certificates, and how. What they forward is verified again, by `tls.clientAuth`; a certificate of their own speaks for none of their clients.",
	"ConsumerCert":        "Which certificates are the consumer's: by one name, and by the CA that vouches for it. The common name is not looked at.",
	"Certificate":         "A pair of PEM files.",
	"Guard":               "What a stranger may ask of the listener.",
	"Admin":               "Where the gateway is watched and asked: health, metrics, explain. It cannot change while the gateway runs.",
	"Health":              "`/livez` and `/readyz` alone, for load balancers. It cannot change while the gateway runs.",
	"Drain":               "How the gateway ends after SIGTERM.",
	"Keys":                "With what Warder seals what it keeps. It is opened when something is to be sealed, and at the start where this key is written; see [keys](../OPERATING.md#keys).",
	"Counters":            "Where limits are counted. In memory, each gateway counts for itself. At a Redis or Valkey server, all gateways that name it count as one. Forms of the address: `redis://[USER:PASSWORD@]HOST[:6379][/DB]`; `redis+sentinel://[USER:PASSWORD@]HOST[:26379],…/MASTER[/DB][?sentinelPassword=…]`; `redis+cluster://[USER:PASSWORD@]HOST[:6379],…`. `valkey` stands for `redis` everywhere; `rediss` and `valkeys` are the same with TLS. A password is a reference: `redis://:${env:REDIS_PASSWORD}@HOST`; special characters in it are percent-encoded.",
	"Issuer":              "Who signs the access tokens that routes accept.",
	"Introspection":       "Asks the issuer what an opaque token stands for (RFC 7662), within 2s.",
	"Login":               "How browsers log in at the issuer (OpenID Connect), for routes with `login`, and how long their sessions last.",
	"AuthorizationServer": "The embedded OAuth 2 provider: client credentials, key set, metadata. It answers on the listeners under the host and path of `issuer`.",
	"Client":              "An application that may ask the embedded provider for tokens.",
	"Consumer":            "A caller that this configuration knows by name.",
	"APIKey":              "One key. `warder key new` prints the key and this line.",
	"Caller":              "A client of an issuer. This is the only way for a token to become a named consumer.",
	"Upstream":            "Targets that answer alike, used in turn. A target that is down gets its turn like any other: health checks and retries are not in this build.",
	"Target":              "One URL, `http` or `https`; its path is put before every path. It may be written as the URL alone.",
	"UpstreamTLS":         "Whom to trust behind `https` targets, and what to show them.",
	"Timeout":             "How long to wait for an upstream. A route's timeout is laid over its upstream's field by field.",
	"Settings":            "What a route may inherit. These keys stand at a route, in the `defaults` of its API, and in `defaults`. The nearest wins, and a value replaces the inherited one whole.",
	"Auth":                "Who may call: one proof (`jwt`, `introspect`, `login`, `basic`, `apiKey`, or `none`) and conditions on it, or a list of such objects under `anyOf` or `allOf`. A route that has no `auth` and inherits none does not load.",
	"Body":                "Bounds of request bodies.",
	"API":                 "Routes under one base path, with defaults of their own.",
	"Route":               "What is done with the requests of one host, path and method. Order in the file does not matter: the most specific path wins. Every route needs an upstream and auth, its own or inherited.",
	"Match":               "Conditions beyond host, path and method.",
	"Log":                 "Where records go. The application log is always on standard error.",
	"AccessLog":           "One record per request; see [its fields](access-log.md).",
	"Sink":                "A place for the access log.",
	"Freshness":           "How old what we know of others may be.",
}

// keyWords say what a key is for, by the name of its object's type.
var keyWords = map[string]words{
	"Document.version":             {"Version of this format.", ""},
	"Document.listeners":           {"Where callers connect.", "one plain listener on `127.0.0.1:8080`"},
	"Document.admin":               {"Where operators connect.", ""},
	"Document.health":              {"A second address for health alone.", "health is on the admin address only"},
	"Document.drain":               {"How to end.", ""},
	"Document.keys":                {"With what Warder seals what it keeps.", "`embedded`, without a passphrase"},
	"Document.counters":            {"Where limits are counted.", "`memory`"},
	"Document.issuers":             {"Who signs tokens.", ""},
	"Document.authorizationServer": {"The embedded OAuth 2 provider.", "off"},
	"Document.consumers":           {"Named callers and their credentials.", ""},
	"Document.limits":              {"Limits with a name. Routes that name one share its buckets.", ""},
	"Document.upstreams":           {"The services behind the gateway.", ""},
	"Document.defaults":            {"What every route inherits.", ""},
	"Document.apis":                {"Routes that belong together.", ""},
	"Document.routes":              {"Routes that belong to no API.", ""},
	"Document.store":               {"Where consumers, keys and all else that is made at run time is kept: `sqlite:FILE` in the state folder, for one gateway, or `postgres://USER:${env:PGPASSWORD}@HOST/DATABASE`, for several. A secret: references resolve in it, it is never printed, and a password stands in it as a reference only. Beyond loopback the server's certificate is verified; `?sslrootcert=FILE` names its CA, `?sslmode=disable` does without TLS. It cannot change while the gateway runs.", "`sqlite:state.db`"},
	"Document.neverBlock":          {"Networks that nothing automatic is ever held against, such as the machines that watch over the gateway: their wrong passwords are not counted and slow nobody down. Trusted proxies are spared without being listed.", "nobody"},
	"Document.log":                 {"The access log.", ""},
	"Document.freshness":           {"How old keys of issuers, and what is known of the store, may be.", ""},

	"Listener.name":    {"Its name in logs.", "the address"},
	"Listener.address": {"Where to accept connections.", "`127.0.0.1:8080`; with certificates `:8443`"},
	"Listener.tls":     {"HTTPS, or the word `none` for plain HTTP beyond loopback.", "plain, on loopback only"},
	"Listener.limits":  {"Bounds for callers.", ""},
	"Listener.h2c":     {"`true`: connections that begin with the preface of HTTP/2 speak it without TLS. For plain listeners; others choose HTTP/2 in the TLS handshake. `Upgrade: h2c` is never taken.", "`false`"},

	"Listener.redirectToHttps":  {"`true`: every request is answered with 308 to the same URL on the first listener with TLS, and nothing else is served. No `tls: none` is needed.", "`false`"},
	"Listener.proxyProtocol":    {"Load balancers that pass connections on and say first whose they are.", "nobody: a PROXY header is malformed HTTP"},
	"Listener.trustedProxies":   {"Proxies whose word on the client is taken: its address, and whether it used HTTPS.", "nobody"},
	"Listener.clientCertHeader": {"Proxies that forward the certificates of their clients.", "nobody: such fields are removed unread"},

	"CertHeader.form": {"`client-cert`: `Client-Cert` and `Client-Cert-Chain` (RFC 9440). `xfcc`: Envoy's `X-Forwarded-Client-Cert`, one element, with `Cert`.", ""},
	"CertHeader.from": {"Addresses of these proxies; no range wider than /24, or /64.", ""},

	"Listener.publicUrl": {"Scheme and authority by which clients know this listener, such as `https://api.example.com`: what DPoP proofs have to be made for.", "as the request says, or a trusted proxy"},
	"Listener.forwarded": {"Where those proxies write it: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded` (RFC 7239). The other is removed unread.", ""},

	"ProxyProtocol.from": {"From these, every connection begins with a PROXY header, version 1 or 2, for TCP, within 5 seconds; without one it is closed.", ""},

	"ListenerTLS.certificates": {"What to show, picked by server name; the first when none fits.", ""},
	"ListenerTLS.minVersion":   {"Oldest version of TLS that is spoken.", ""},

	"ListenerTLS.clientAuth": {"Whether callers show a certificate of their own.", "they are not asked"},

	"ClientAuth.caFile":  {"CA certificates that vouch for callers, PEM.", ""},
	"ClientAuth.crlFile": {"Revocation lists, PEM or DER, one file or several, at most 16 MiB each, read again when they change. Each certificate of a chain needs a list of its CA that is in force, or an answer by `ocsp`. Delta and indirect lists, and lists of a part, do not load.", "no lists are asked"},
	"ClientAuth.ocsp":    {"Whom to ask whether a certificate was revoked, where no list says: `aia`, the responder that the certificate names, or the URL of one.", "nobody is asked"},
	"ClientAuth.mode":    {"`required`: a connection without a good certificate is closed. `optional`: it is asked for, and counts only once it was verified. `none`: it is not asked for; the file is checked all the same.", "`required`"},

	"Certificate.certFile": {"Certificate with its chain, PEM.", ""},
	"Certificate.keyFile":  {"Private key, PEM.", ""},

	"Guard.headerSize":    {"Request line and header fields together; 1KiB to 1MiB.", ""},
	"Guard.headers":       {"Number of header fields; 1 to 1000.", ""},
	"Guard.headerTimeout": {"For the whole head to arrive; 100ms to 1m.", ""},
	"Guard.idleTimeout":   {"Of a kept-alive connection between requests; 100ms to 1h.", ""},
	"Guard.connections":   {"Open connections. When there are as many, those that come take the place of idle ones, or wait.", "half of the limit on open files less 500, from 100 to 20000"},

	"Guard.connectionsPerAddress": {"Of these, how many one client address may have (IPv6: one /64); more take the place of idle ones of that address, or are closed. Proxies that the listener names are not counted.", "half of `connections`, at least 100"},

	"Admin.address": {"Loopback only.", ""},
	"Admin.metrics": {"`open`: `/metrics` needs no token.", "the admin token is needed"},

	"Health.address": {"Where load balancers ask. It may be beyond loopback.", ""},

	"Counters.url":    {"`memory`, or the address of a server.", ""},
	"Counters.caFile": {"CA certificates to trust behind `rediss` and `valkeys`, PEM.", "the system's"},

	"Drain.delay": {"How long to serve on after saying \"not ready\".", ""},
	"Drain.limit": {"How long open requests may still take; 1s to 1h.", ""},

	"Keys.provider":   {"Where the keys are. `embedded`: in the file `keys.kek` of the state folder.", ""},
	"Keys.passphrase": {"A reference to the passphrase that locks that file, of at least 12 bytes.", "the file is not locked"},

	"Issuer.preset":        {"What is known of a provider speaks where you write nothing: `issuer` (from `tenant`), `algorithms`, `consumer`, `roles`, and which claims say who somebody is. See [identity providers by name](../CONFIGURATION.md#identity-providers-by-name).", "none"},
	"Issuer.tenant":        {"Whose tokens these are, with a preset: the domain (`okta`, `auth0`), the id of the user pool (`cognito`) or of the directory (`entra-id`).", ""},
	"Issuer.tenants":       {"With `entra-id`: several directories whose tokens are accepted; at most 256.", ""},
	"Issuer.issuer":        {"What `iss` of a token must be, byte for byte. The keys are found by its discovery document.", "made from `tenant` by the preset, otherwise required"},
	"Issuer.jwksUri":       {"Where the keys are, instead of discovery.", ""},
	"Issuer.jwksFile":      {"The keys in a file, instead of discovery.", ""},
	"Issuer.caFile":        {"CA certificates to trust when keys are fetched, tokens introspected, and browsers log in, PEM.", "the system's"},
	"Issuer.audience":      {"`aud` of a token must hold one of these.", "required, unless `clientIds` or `login` is written"},
	"Issuer.clientIds":     {"For issuers whose access tokens have no `aud`, such as Cognito: `client_id` must be one of these and `token_use` be `access` (of an introspected token, `token_type` will do).", ""},
	"Issuer.algorithms":    {"Signature algorithms that are accepted.", ""},
	"Issuer.clockSkew":     {"How far the issuer's clock may be off; at most 60s.", ""},
	"Issuer.consumer":      {"Claims that name the calling application; the first that is present counts.", ""},
	"Issuer.roles":         {"Paths of the claims that hold roles or groups, for `roles` and `allRoles` of routes, and for the log: one, or a list.", "none, or as the preset says"},
	"Issuer.tokenType":     {"`access`: told from ID and other tokens by all rules. `at+jwt`: by the header alone (RFC 9068). `any`: not told at all.", ""},
	"Issuer.tokenBinding":  {"What its tokens have to be bound to. `asIssued`: a token that is bound (`cnf`) is let in with a proof of its key (DPoP, `jkt`), over a connection that shows its certificate (`x5t#S256`), or both, as it says; one that is bound to anything else is refused. `dpop` and `mtls` also refuse tokens that are not bound so; `mtls` needs a listener with `tls.clientAuth` or `clientCertHeader`.", ""},
	"Issuer.introspection": {"How the issuer is asked about opaque tokens, for routes with `introspect`.", "it is not asked"},

	"Issuer.login": {"How browsers log in at the issuer, for routes with `login`.", "they do not"},

	"Login.scopes":   {"What is asked for. Without `offline_access`, many issuers give no refresh token, and what they end is seen by back-channel logout only.", ""},
	"Login.idle":     {"How long a session lasts without a request; 1m at least.", ""},
	"Login.lifetime": {"How long a session lasts at most; up to 720h.", ""},

	"Introspection.endpoint": {"Where to ask, instead of the `introspection_endpoint` of discovery.", ""},
	"Introspection.cache":    {"How long an answer is believed; at most 30s, and never past the token's `exp`. `0s`: every request asks.", ""},
	"Introspection.jwt":      {"Ask about JWTs as well.", ""},

	"Registration.clientId":     {"As which client the issuer knows this gateway.", ""},
	"Registration.clientAuth":   {"What proves it: `clientSecretBasic` and `clientSecretPost` take `clientSecret`, `privateKeyJwt` takes `keyFile`, `tlsClient` takes `certFile` and `keyFile`.", ""},
	"Registration.clientSecret": {"The client's secret, by reference.", ""},
	"Registration.certFile":     {"The client's certificate, PEM.", ""},
	"Registration.keyFile":      {"The client's private key, PEM; of `privateKeyJwt` RSA, P-256, P-384, P-521 or Ed25519.", ""},

	"AuthorizationServer.issuer":              {"Its identifier, and where it is found by callers.", ""},
	"AuthorizationServer.accessTokenLifetime": {"How long its tokens live; 1s to 1h.", ""},
	"AuthorizationServer.clients":             {"Who may ask, by client id.", ""},

	"Client.secret":   {"The SHA-256 of the secret, or a reference to the secret.", ""},
	"Client.scopes":   {"What it may ask for.", "nothing"},
	"Client.audience": {"`aud` of its tokens.", ""},

	"Consumer.apiKeys":  {"Its keys; several, so that one can replace another.", ""},
	"Consumer.clients":  {"Its clients at issuers.", ""},
	"Consumer.password": {"The Argon2id hash of its password, `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH` as `warder password hash` prints it, or a reference to one. With it the consumer's name is a user name for `auth: { basic: true }`. At least m=7168 and m×t=35840, at most m=65536, t=16, p=4 and m×t=196608.", "none"},
	"Consumer.roles":    {"Its roles, when it calls with a credential of its own: up to 64. A token brings roles of its own.", ""},
	"Auth.anyOf":        {"Up to 8 objects of the keys below, each with one proof and conditions of its own; one of them has to hold, and they are asked in order. A credential that is presented and bad refuses, whatever else is there.", ""},
	"Auth.allOf":        {"The same, but all of them have to hold, and those that name a consumer name the same one.", ""},

	"Consumer.certificates": {"Its client certificates; see [mtls](#authmtls).", ""},

	"ConsumerCert.caFile":     {"The CA that the chain has to end in, PEM; one of those in a listener's `clientAuth`.", "the only CA there is"},
	"ConsumerCert.sanDns":     {"A DNS name of the certificate. No wildcards.", ""},
	"ConsumerCert.sanUri":     {"A URI of the certificate, such as a SPIFFE ID.", ""},
	"ConsumerCert.thumbprint": {"SHA-256 of the certificate.", ""},

	"APIKey.hash":    {"SHA-256 of the key.", ""},
	"APIKey.expires": {"The last day it is good.", "never"},
	"APIKey.from":    {"Ranges of addresses from which it is good: `203.0.113.0/24`. Others are 403 `address_denied`.", "anywhere"},
	"APIKey.routes":  {"Names of the routes it is good on. Others are 403 `credential_not_allowed_here`.", "all"},

	"Caller.issuer": {"Name of an issuer under `issuers`.", ""},
	"Caller.id":     {"The client id there.", ""},

	"Upstream.targets":  {"At least one.", ""},
	"Upstream.timeout":  {"How long to wait.", ""},
	"Upstream.tls":      {"For `https` targets.", "the system's CA certificates"},
	"Upstream.protocol": {"`http1`; `http2`: chosen in the TLS handshake with `https` targets, without TLS from the first byte with `http` ones; `grpc`: the same, with trailers, see [gRPC](../CONFIGURATION.md#http2-and-grpc).", ""},
	"Upstream.host":     {"The `Host` that targets see: `keep` the caller's, `upstream` the target's own, or a name.", ""},

	"Target.url": {"`http://HOST:PORT` or `https://HOST:PORT`.", ""},

	"UpstreamTLS.caFile":     {"CA certificates to trust, PEM.", "the system's"},
	"UpstreamTLS.certFile":   {"Certificate to show to targets, with its chain, PEM.", "none is shown"},
	"UpstreamTLS.keyFile":    {"Its private key, PEM.", ""},
	"UpstreamTLS.serverName": {"Name in the target's certificate.", "the target's host"},

	"Timeout.connect":   {"For a connection, with its TLS handshake.", ""},
	"Timeout.firstByte": {"From the last byte of the request to the head of the answer.", ""},
	"Timeout.idle":      {"Between two pieces of a body. A WebSocket ends when nothing moves for so long, either way.", ""},
	"Timeout.total":     {"For everything. For an open WebSocket only what its route itself says counts.", ""},

	"Settings.upstream":     {"Where requests go.", "required, here or inherited"},
	"Settings.auth":         {"Who may call.", "required, here or inherited"},
	"Settings.timeout":      {"Laid over the upstream's, field by field.", "the upstream's"},
	"Settings.body":         {"Bounds of request bodies.", ""},
	"Settings.pathAllow":    {"What else a path may hold, each by its name: see [paths](../CONFIGURATION.md#paths).", "nothing"},
	"Settings.pass":         {"Header fields of the caller that go on although they are normally removed, such as `X-Original-URL`.", "none"},
	"Settings.forwardToken": {"Whether a verified bearer token goes on to the upstream.", ""},

	"Body.maxSize": {"Larger bodies are refused with 413.", ""},

	"API.host":     {"Host of its routes.", "any host that has no routes of its own"},
	"API.basePath": {"What the paths of its routes begin with.", ""},
	"API.defaults": {"What its routes inherit.", ""},
	"API.routes":   {"Its routes.", ""},

	"Route.name":    {"Its name in logs, metrics and explain.", "methods and path"},
	"Route.host":    {"`api.example.com`, `*.example.com`, or `any`: also for hosts that have routes of their own.", "any host that has no routes of its own"},
	"Route.path":    {"`/orders`, `/orders/{id}`, `/orders/**`. `/orders/**` also matches `/orders` and `/orders/`.", ""},
	"Route.methods": {"HEAD goes with GET.", ""},
	"Route.match":   {"More conditions.", ""},
	"Route.upgrade": {"What a connection may become when request and upstream agree on it: see [WebSockets](../CONFIGURATION.md#websockets).", "nothing: the caller's `Upgrade` is dropped"},

	"Match.headers": {"Header fields that must have exactly this value.", ""},

	"Log.access": {"One record per request.", ""},

	"AccessLog.format": {"Form of a record.", ""},
	"AccessLog.to":     {"Where records are written.", "`stdout`"},

	"Sink.file": {"A file that is appended to; relative to the state folder.", ""},

	"Freshness.jwks":        {"Keys of an issuer that could not be fetched again for so long are no longer trusted; 1m to 30d.", ""},
	"Freshness.revocations": {"When nothing was heard of the store for so long, its keys are refused with 503: they might have been revoked meanwhile; 10s to 24h.", ""},
}

// fieldWords say what a field of the access log holds.
var fieldWords = map[string]string{
	"time":            "When the head of the request was complete.",
	"id":              "The request id: `X-Request-Id` of the answer, `requestId` of a refusal, what `warder explain` takes.",
	"clientRequestId": "The caller's own `X-Request-Id`, if it is 1 to 64 letters, digits, dots, dashes and underscores.",
	"client":          "The caller's address, as trusted proxies say it.",
	"listener":        "Name of the listener.",
	"proto":           "`HTTP/1.1` or `HTTP/2.0`.",
	"tls":             "Whether the caller's connection is encrypted, as the nearest trusted proxy says it where there is one.",
	"method":          "Method.",
	"host":            "Host that was asked for.",
	"path":            "Path in normal form; of a request that was refused before, as received.",
	"query":           "Query, with credentials redacted.",
	"route":           "Name of the route that matched.",
	"status":          "Status that was sent.",
	"code":            "Inner code of the refusal.",
	"publicCode":      "Code that the caller was shown.",
	"reason":          "What happened, for you and not for the caller.",
	"auth":            "How the caller was proved: `jwt`, `introspect`, `login`, `apiKey`, `basic`, `mtls`, `none`.",
	"issuer":          "Name of the issuer.",
	"clientId":        "Client id in the token.",
	"consumer":        "The consumer: a name under `consumers`, or `issuer/client` for a token that none of them lists.",
	"subject":         "`sub` of the token.",
	"session":         "Name of the browser's session, for `warder token revoke --session`. It is not the cookie, and opens nothing.",
	"scopes":          "Scopes of the token.",
	"roles":           "Roles of the token.",
	"target":          "Target that the request was sent to.",
	"durationMs":      "From the head of the request to the end of the answer.",
	"upstreamMs":      "From sending to the first byte of the target's answer.",
	"bytesIn":         "Bytes of the request body; of a WebSocket, all that the caller sent.",
	"bytesOut":        "Bytes of the answer's body; of a WebSocket, all that the caller was sent.",
	"userAgent":       "User-Agent of the caller.",
	"config":          "First 12 digits of the hash of the configuration that judged.",
}
