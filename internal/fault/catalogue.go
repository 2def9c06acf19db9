package fault

// The codes, in the order of the catalogue.
const (
	InternalError Code = iota
	RequestMalformed
	PathNotNormal
	QueryMalformed
	ParameterAmbiguous
	HostUnknown
	CredentialAmbiguous
	CredentialMissing
	CredentialMalformed
	TokenInvalid
	TokenSignatureInvalid
	TokenKeyUnknown
	TokenAlgorithmRefused
	TokenIssuerUnknown
	TokenInactive
	TokenRevoked
	TokenNotYetValid
	TokenExpired
	TokenAudienceWrong
	TokenTypeWrong
	TokenBindingFailed
	DPoPProofInvalid
	DPoPReplayed
	DPoPNonceRequired
	KeyInvalid
	KeyUnknown
	KeyExpired
	KeyRevoked
	KeyMalformed
	PasswordWrong
	AccountLocked
	CertificateMissing
	CertificateInvalid
	CertificateUntrusted
	CertificateRevoked
	LoginRequired
	SessionExpired
	LoginFailed
	ScopeMissing
	RoleMissing
	PolicyDenied
	ConsumerNotAllowed
	CSRFRefused
	CredentialNotAllowedHere
	AddressDenied
	TransportInsecure
	RouteUnknown
	MethodNotAllowed
	RequestTimeout
	LengthRequired
	BodyTooLarge
	URITooLong
	ExpectationFailed
	MisdirectedRequest
	HeadersTooLarge
	RateLimited
	MethodUnknown
	TransferCodingUnsupported
	HTTPVersionUnsupported
	LoopDetected
	TransformFailed
	UpstreamUnavailable
	UpstreamError
	UpstreamUnreachable
	ResponseMalformed
	UpstreamBusy
	UpstreamTimeout
	IdentityUnavailable
	KeysStale
	LimitsUnavailable
	Overloaded
	Draining
	ClientGone
)

type entry struct {
	name   string
	public Code   // shown to the caller instead; InternalError: the code itself
	status int    // HTTP status
	detail string // one sentence for the caller, a constant; empty when another code is shown
	mend   string // for the operator
}

var catalogue = [...]entry{
	InternalError:             {name: "internal_error", status: 500, detail: "The gateway could not complete the request.", mend: "look up the request id in the application log"},
	RequestMalformed:          {name: "request_malformed", status: 400, detail: "The request is not well-formed HTTP.", mend: "the client sends HTTP that can be read in two ways; the reason names the rule"},
	PathNotNormal:             {name: "path_not_normal", status: 400, detail: "The path is not in normal form.", mend: "send the path exactly as the route is written, without dot segments, backslashes, empty segments or odd escapes; what a backend really needs can be listed under pathAllow"},
	QueryMalformed:            {name: "query_malformed", status: 400, detail: "The query string is malformed.", mend: "escape the query properly"},
	ParameterAmbiguous:        {name: "parameter_ambiguous", status: 400, detail: "A parameter or header that must occur once occurs more than once.", mend: "send {name} once"},
	HostUnknown:               {name: "host_unknown", status: 400, detail: "The host is not served here.", mend: "add the host to the listener's hosts, or call the right one"},
	CredentialAmbiguous:       {name: "credential_ambiguous", status: 400, detail: "More than one credential was presented.", mend: "send exactly one credential"},
	CredentialMissing:         {name: "credential_missing", status: 401, detail: "A credential is required.", mend: "send one of the credentials the route accepts"},
	CredentialMalformed:       {name: "credential_malformed", public: TokenInvalid, status: 401, mend: "the Authorization field is not a well-formed token; compare it with what the issuer gave"},
	TokenInvalid:              {name: "token_invalid", status: 401, detail: "The access token is not valid.", mend: "get a new token"},
	TokenSignatureInvalid:     {name: "token_signature_invalid", public: TokenInvalid, status: 401, mend: "the token was altered, or was not signed by issuer {issuer}"},
	TokenKeyUnknown:           {name: "token_key_unknown", public: TokenInvalid, status: 401, mend: "issuer {issuer} publishes no key {kid}; the token comes from elsewhere or its key has been removed"},
	TokenAlgorithmRefused:     {name: "token_algorithm_refused", public: TokenInvalid, status: 401, mend: "add {alg} to the issuer's algorithms if it is meant to be accepted"},
	TokenIssuerUnknown:        {name: "token_issuer_unknown", public: TokenInvalid, status: 401, mend: "the token's iss must equal the issuer of the configuration byte for byte"},
	TokenInactive:             {name: "token_inactive", public: TokenInvalid, status: 401, mend: "the issuer says this token is no longer active"},
	TokenRevoked:              {name: "token_revoked", public: TokenInvalid, status: 401, mend: "the token was revoked here; get a new one"},
	TokenNotYetValid:          {name: "token_not_yet_valid", public: TokenInvalid, status: 401, mend: "compare the clocks of issuer and gateway (clockSkew allows 60s at most)"},
	TokenExpired:              {name: "token_expired", status: 401, detail: "The access token has expired.", mend: "get a new token; if it was fresh, compare the clocks of issuer and gateway"},
	TokenAudienceWrong:        {name: "token_audience_wrong", status: 401, detail: "The access token is meant for another audience.", mend: "ask the issuer for a token with audience {want}, or add the audience to the issuer's configuration"},
	TokenTypeWrong:            {name: "token_type_wrong", status: 401, detail: "The token is not an access token.", mend: "send the access token, not the ID or refresh token"},
	TokenBindingFailed:        {name: "token_binding_failed", status: 401, detail: "The access token is bound to a key or certificate that was not shown.", mend: "the token is sender-constrained, or tokenBinding asks that it be: send it by scheme DPoP with a proof (cnf.jkt), or over a connection that shows its certificate (cnf.x5t#S256)"},
	DPoPProofInvalid:          {name: "dpop_proof_invalid", status: 401, detail: "The DPoP proof is not valid for this request.", mend: "make a proof for each request, for this method, URI and token; if the URI is right, see publicUrl and trustedProxies"},
	DPoPReplayed:              {name: "dpop_replayed", public: DPoPProofInvalid, status: 401, mend: "each proof may be sent once: retries need one of their own; if the client says it sent it once, somebody else has it"},
	DPoPNonceRequired:         {name: "dpop_nonce_required", status: 401, detail: "The DPoP proof needs the nonce of the DPoP-Nonce field.", mend: "the client's clock is more than a minute off, or its nonce is too old: it has to repeat the request with the nonce of DPoP-Nonce"},
	KeyInvalid:                {name: "key_invalid", status: 401, detail: "The API key is not valid.", mend: "use a key of a consumer, in the configuration or in the store"},
	KeyUnknown:                {name: "key_unknown", public: KeyInvalid, status: 401, mend: "no consumer has this key; `warder key list` shows those of the store by their ids, and `warder key hash` prints the hash to look for in the configuration"},
	KeyExpired:                {name: "key_expired", public: KeyInvalid, status: 401, mend: "make a new key with `warder rotate api-key {consumer}`, or with `warder key new` for the configuration"},
	KeyRevoked:                {name: "key_revoked", public: KeyInvalid, status: 401, mend: "the key was revoked; make a new one with `warder key new {consumer}`"},
	KeyMalformed:              {name: "key_malformed", public: KeyInvalid, status: 401, mend: "the value is not a Warder key (form wk_PREFIX_SECRET, with its checksum); look for a cut or altered copy"},
	PasswordWrong:             {name: "password_wrong", status: 401, detail: "The user name or the password is wrong.", mend: "compare user name and password with those of the consumer; `warder password hash` makes the line for another password"},
	AccountLocked:             {name: "account_locked", public: PasswordWrong, status: 401, mend: "too many wrong passwords came before, so that right ones are refused too for up to five minutes; find who sends them in the access log, and see Guessing in OPERATING.md"},
	CertificateMissing:        {name: "certificate_missing", status: 403, detail: "A client certificate is required.", mend: "open the connection with a client certificate, on a listener with clientAuth"},
	CertificateInvalid:        {name: "certificate_invalid", status: 403, detail: "The client certificate is not accepted.", mend: "see the inner code"},
	CertificateUntrusted:      {name: "certificate_untrusted", public: CertificateInvalid, status: 403, mend: "the reason names what does not hold: the chain to a CA of clientAuth, the dates, the purpose, or that no consumer lists the certificate"},
	CertificateRevoked:        {name: "certificate_revoked", public: CertificateInvalid, status: 403, mend: "the CA has revoked the certificate; have it issue another one"},
	LoginRequired:             {name: "login_required", status: 401, detail: "A login is required.", mend: "open the page in a browser: it is sent to the login; requests of scripts are answered with this code"},
	SessionExpired:            {name: "session_expired", status: 401, detail: "The session has ended.", mend: "log in again; sessions end by logout, after login.idle without a request, and login.lifetime after they began"},
	LoginFailed:               {name: "login_failed", status: 401, detail: "The login could not be completed.", mend: "start again at the application; the reason in the access log, and warder explain, say what was wrong"},
	ScopeMissing:              {name: "scope_missing", status: 403, detail: "The access token lacks a required scope.", mend: "grant scope {missing} to client {client} at issuer {issuer}"},
	RoleMissing:               {name: "role_missing", status: 403, detail: "The caller lacks a required role.", mend: "grant role {missing} to {consumer}"},
	PolicyDenied:              {name: "policy_denied", status: 403, detail: "The request is not allowed.", mend: "see the policy's condition"},
	CredentialNotAllowedHere:  {name: "credential_not_allowed_here", status: 403, detail: "This credential is not meant for this API.", mend: "the key is for other routes; give {consumer} a key for this one, or add the route's name to those of the key"},
	AddressDenied:             {name: "address_denied", status: 403, detail: "Access from this address is not allowed.", mend: "the key is good from other addresses only; add the client's to those of the key if it is meant to be let in, and behind a proxy see trustedProxies"},
	ConsumerNotAllowed:        {name: "consumer_not_allowed", status: 403, detail: "This consumer may not use this API.", mend: "add {consumer} to the route's consumers if it is meant to be let in"},
	CSRFRefused:               {name: "csrf_refused", status: 403, detail: "The request was not made by a page of this site.", mend: "requests that change something need Sec-Fetch-Site: same-origin, or an Origin equal to the application's own"},
	TransportInsecure:         {name: "transport_insecure", status: 403, detail: "The request must be made over HTTPS.", mend: "serve the route over TLS"},
	RouteUnknown:              {name: "route_unknown", status: 404, detail: "There is no such resource.", mend: "no route has this host and path; `warder explain METHOD URL` shows how it was looked for"},
	MethodNotAllowed:          {name: "method_not_allowed", status: 405, detail: "The method is not allowed for this resource.", mend: "the route lists other methods; see Allow"},
	RequestTimeout:            {name: "request_timeout", status: 408, detail: "The request did not arrive in time.", mend: "the client or its network is slow; limits.headerTimeout says how slow it may be"},
	LengthRequired:            {name: "length_required", status: 411, detail: "A content length is required.", mend: "send Content-Length or a chunked body"},
	BodyTooLarge:              {name: "body_too_large", status: 413, detail: "The request body is too large.", mend: "raise body.maxSize on the route if such bodies are meant"},
	URITooLong:                {name: "uri_too_long", status: 414, detail: "The request target is too long.", mend: "shorten the URL"},
	ExpectationFailed:         {name: "expectation_failed", status: 417, detail: "The expectation cannot be met.", mend: "only Expect: 100-continue is supported"},
	MisdirectedRequest:        {name: "misdirected_request", status: 421, detail: "The request was sent to the wrong server.", mend: "the listener has clientAuth, and the connection was opened for another server name (SNI) than the host, or for none; ask again on a connection for this host"},
	HeadersTooLarge:           {name: "headers_too_large", status: 431, detail: "The request header is too large.", mend: "send fewer or shorter header fields, or raise limits.headerSize"},
	RateLimited:               {name: "rate_limited", status: 429, detail: "Too many requests.", mend: "wait as Retry-After says, or raise the limit"},
	MethodUnknown:             {name: "method_unknown", status: 501, detail: "The method is not implemented.", mend: "use a method of RFC 9110 or PATCH"},
	TransferCodingUnsupported: {name: "transfer_coding_unsupported", status: 501, detail: "The transfer coding is not supported.", mend: "use chunked"},
	HTTPVersionUnsupported:    {name: "http_version_unsupported", status: 505, detail: "The HTTP version is not supported.", mend: "use HTTP/1.1 or HTTP/2"},
	LoopDetected:              {name: "loop_detected", status: 508, detail: "The request has passed this gateway before.", mend: "a target of the upstream leads back to this gateway"},
	TransformFailed:           {name: "transform_failed", status: 500, detail: "The request could not be prepared for the service behind the gateway.", mend: "field {header}: {because}; write an encode for it, or tell the backend something else (identity)"},
	UpstreamUnavailable:       {name: "upstream_unavailable", status: 502, detail: "The service behind the gateway is not available.", mend: "see the inner code"},
	UpstreamError:             {name: "upstream_error", status: 502, detail: "The service behind the gateway broke off its answer.", mend: "read the log of target {target}"},
	UpstreamUnreachable:       {name: "upstream_unreachable", public: UpstreamUnavailable, status: 502, mend: "check that target {target} runs and that the gateway may connect to it"},
	ResponseMalformed:         {name: "response_malformed", status: 502, detail: "The service behind the gateway gave a malformed answer.", mend: "target {target} does not speak well-formed HTTP; the reason names the rule"},
	UpstreamBusy:              {name: "upstream_busy", public: UpstreamUnavailable, status: 503, mend: "the upstream has as many requests waiting as it may; add targets"},
	UpstreamTimeout:           {name: "upstream_timeout", status: 504, detail: "The service behind the gateway did not answer in time.", mend: "target {target} is slow; timeout says how long is waited"},
	IdentityUnavailable:       {name: "identity_unavailable", status: 503, detail: "Credentials cannot be checked at the moment.", mend: "what the credential is judged by could not be had: the keys of issuer {issuer}, or its word on an opaque token, or for an API key those of the store; with identity.jwt, the key that signs; check that the gateway reaches it"},
	KeysStale:                 {name: "keys_stale", status: 503, detail: "Credentials cannot be checked at the moment.", mend: "what the credential is judged by is too old: the keys of issuer {issuer} (freshness.jwks), or for an API key what is known of the store (freshness.revocations); check that the gateway reaches it"},
	LimitsUnavailable:         {name: "limits_unavailable", status: 503, detail: "Limits cannot be checked at the moment.", mend: "the counters are out of reach"},
	Overloaded:                {name: "overloaded", status: 503, detail: "The gateway is overloaded.", mend: "too many requests at once; add instances or raise limits.connections"},
	Draining:                  {name: "draining", status: 503, detail: "The gateway is shutting down.", mend: "send the request to another instance"},
	ClientGone:                {name: "client_gone", status: 499, detail: "The client went away.", mend: "the client closed its connection before the answer"},
}
