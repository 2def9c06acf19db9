package authserver

import (
	"encoding/json"
	"net/http"
)

// refusal is an error response of RFC 6749 section 5.2. Every part of it is a
// constant: nothing of a request is ever reflected.
type refusal struct {
	status      int
	code        string // of the registry of OAuth error codes
	description string // one sentence for the developer of the client
}

func (r *refusal) Error() string { return r.code + ": " + r.description }

func badRequest(code, description string) *refusal {
	return &refusal{http.StatusBadRequest, code, description}
}

// The refusals of the token endpoint.
var (
	errQuery       = badRequest("invalid_request", "Parameters belong in the body, not in the address.")
	errContentType = badRequest("invalid_request", "The body must be application/x-www-form-urlencoded, in UTF-8.")
	errEncoding    = badRequest("invalid_request", "The body must not be compressed.")
	errBody        = badRequest("invalid_request", "The body could not be read.")
	errForm        = badRequest("invalid_request", "The body is not a well-formed form.")
	errDuplicate   = badRequest("invalid_request", "A parameter occurs more than once.")
	errTwoMethods  = badRequest("invalid_request", "The client must authenticate in exactly one way.")
	errTwoClients  = badRequest("invalid_request", "The parameter client_id names another client than the one that authenticated.")
	errNoGrant     = badRequest("invalid_request", "The parameter grant_type is missing.")
	errGrant       = badRequest("unsupported_grant_type", "This grant type is not supported.")
	errScope       = badRequest("invalid_scope", "The scope is malformed, or not one this client may ask for.")
	errTarget      = badRequest("invalid_target", "The resource is not one this client may ask for.")

	errTooLarge = &refusal{http.StatusRequestEntityTooLarge, "invalid_request", "The body is too large."}
	// errClient is one answer for a missing, malformed, unknown, wrong and
	// slowed-down credential: telling them apart would help whoever guesses.
	errClient = &refusal{http.StatusUnauthorized, "invalid_client", "The client is not known or did not authenticate as it must."}
	errServer = &refusal{http.StatusInternalServerError, "server_error", "The request could not be completed."}
)

// refuse writes the refusal.
func refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{no.code, no.description})
	if err != nil {
		panic(err) // strings always marshal
	}
	if no.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="token endpoint", charset="UTF-8"`)
	}
	noStore(w)
	reply(w, r, no.status, "no-store", body)
}
