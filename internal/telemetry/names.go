package telemetry

// TimeFormat is how times are written in every log: RFC 3339, UTC,
// milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// The fields of the access log, in the order they are written. Fields that
// say nothing are left out, but for those marked always.
const (
	FieldTime            = "time"            // always
	FieldID              = "id"              // always; the request id
	FieldClientRequestID = "clientRequestId" // the caller's own id
	FieldClient          = "client"          // address, after trusted proxies
	FieldListener        = "listener"
	FieldProto           = "proto"
	FieldTLS             = "tls" // always; whether the client's side is encrypted
	FieldMethod          = "method"
	FieldHost            = "host"
	FieldPath            = "path"  // normal form, credentials redacted
	FieldQuery           = "query" // credentials redacted
	FieldRoute           = "route"
	FieldStatus          = "status"     // always
	FieldCode            = "code"       // inner code of a refusal
	FieldPublicCode      = "publicCode" // what the caller was shown
	FieldReason          = "reason"
	FieldAuth            = "auth" // method of the identity
	FieldIssuer          = "issuer"
	FieldClientID        = "clientId"
	FieldConsumer        = "consumer"
	FieldSubject         = "subject"
	FieldSession         = "session" // of a browser
	FieldScopes          = "scopes"
	FieldRoles           = "roles"
	FieldTarget          = "target"     // upstream target chosen
	FieldDurationMs      = "durationMs" // always
	FieldUpstreamMs      = "upstreamMs" // until the upstream's first byte
	FieldBytesIn         = "bytesIn"    // always; of bodies
	FieldBytesOut        = "bytesOut"   // always
	FieldUserAgent       = "userAgent"
	FieldConfig          = "config" // hash of the configuration that judged
)

// The fields of the application log that more than one package writes.
const (
	FieldError = "error"
	FieldPanic = "panic" // what a panic said
	FieldStack = "stack"
)

// Labels of metrics.
const (
	labelRoute  = "route"
	labelCode   = "code"
	labelStatus = "status"
	labelIssuer = "issuer"
	labelResult = "result"
	labelHash   = "hash"
	labelKind   = "kind"
)

// Metric names a metric that another part of the gateway measures.
type Metric struct{ name, help string }

// Metrics that are read from their owners; see Metrics.Gauge and
// Metrics.Counter.
var (
	ActiveConnections  = Metric{"warder_connections_active", "Client connections that are open."}
	EvictedConnections = Metric{"warder_connections_evicted_total", "Idle client connections that were ended to make room for others."}
	RefusedConnections = Metric{"warder_connections_refused_total", "Client connections that were closed because their address had limits.connectionsPerAddress of them, none idle."}
	AcceptPauses       = Metric{"warder_accept_paused_total", "Times that accepting waited: limits.connections or the limit on open files was reached and no connection was idle, or the system let none in."}
	TokenCacheHits     = Metric{"warder_token_cache_hits_total", "Tokens whose verdict was in memory."}
	TokenCacheMisses   = Metric{"warder_token_cache_misses_total", "Tokens whose signature had to be verified."}
	PasswordCacheHits  = Metric{"warder_password_cache_hits_total", "Passwords that were right a short time before, from the same network."}
	PasswordHashes     = Metric{"warder_password_hashes_total", "Passwords whose hash was worked out, right or wrong."}
	PasswordsBusy      = Metric{"warder_password_busy_total", "Passwords that were answered with 503 because no turn to work their hash out came in time."}
	AccessLogLines     = Metric{"warder_access_log_lines_total", "Lines given to the access log."}
	StoreUp            = Metric{"warder_store_up", "1 while the store answers and takes writes, 0 while it is down."}
	BucketsForgotten   = Metric{"warder_limit_buckets_forgotten_total", "Rate-limit buckets that were dropped to make room: a flood of callers, and a limit that may have leaked."}
	CountersUp         = Metric{"warder_counters_up", "1 while limits are counted where the configuration says, 0 while the counters' server does not answer."}
	CountersLocal      = Metric{"warder_counters_local_decisions_total", "Decisions on limits that memory took because the counters' server did not answer."}
	AccessLogDropped   = Metric{"warder_access_log_dropped_total", "Lines the access log lost because its writer was too slow or failed."}
)

// Metrics that this package measures.
const (
	metricRequests       = "warder_requests_total"
	metricDuration       = "warder_request_duration_seconds"
	metricUpstream       = "warder_upstream_duration_seconds"
	metricReloads        = "warder_config_reloads_total"
	metricReloadTime     = "warder_config_last_reload_timestamp_seconds"
	metricReloadOK       = "warder_config_last_reload_successful"
	metricReloadDuration = "warder_config_last_reload_duration_seconds"
	metricConfigInfo     = "warder_config_info"
	metricBuildInfo      = "warder_build_info"
	metricHTTP2Errors    = "warder_http2_errors_total"
	metricKeysAge        = "warder_issuer_keys_age_seconds"
	metricKeysOK         = "warder_issuer_keys_last_fetch_successful"
)
