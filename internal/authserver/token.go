package authserver

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	tokenPath = "/token"
	maxForm   = 16 << 10 // bytes of a request to the token endpoint
)

// form holds the parameters of a request, each with one value that is not
// empty.
type form map[string]string

// tokenResponse is RFC 6749 section 5.1.
type tokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Scope       string `json:"scope,omitempty"`
}

// token is the token endpoint (RFC 6749 section 3.2). The request is read and
// the client proved before any grant looks at it.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	granted, err := s.grant(r)
	if err != nil {
		var no *refusal
		if !errors.As(err, &no) {
			s.log.ErrorContext(r.Context(), "token not issued", "error", err)
			no = errServer
		}
		refuse(w, r, no)
		return
	}
	body, err := json.Marshal(granted)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	noStore(w)
	reply(w, r, http.StatusOK, "no-store", body)
}

func (s *Server) grant(r *http.Request) (*tokenResponse, error) {
	params, err := readForm(r)
	if err != nil {
		return nil, err
	}
	c, err := s.authenticate(r, params)
	if err != nil {
		return nil, err
	}
	switch params["grant_type"] {
	case "":
		return nil, errNoGrant
	case grantClientCredentials:
		return s.clientCredentials(r.Context(), c, params)
	default:
		return nil, errGrant
	}
}

// readForm reads the parameters of a request from its body (RFC 6749 section
// 3.2): at most once each, those without a value as if they were not there.
func readForm(r *http.Request) (form, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		// A secret in an address ends in somebody's log.
		return nil, errQuery
	}
	if !isForm(r.Header.Values("Content-Type")) {
		return nil, errContentType
	}
	if len(r.Header.Values("Content-Encoding")) > 0 {
		return nil, errEncoding
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return nil, errBody
	}
	if len(body) > maxForm {
		return nil, errTooLarge
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errForm
	}
	params := make(form, len(values))
	for name, value := range values {
		if len(value) > 1 {
			return nil, errDuplicate
		}
		if !utf8.ValidString(name) || !utf8.ValidString(value[0]) {
			return nil, errForm
		}
		if value[0] != "" {
			params[name] = value[0]
		}
	}
	return params, nil
}

func isForm(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	media, params, err := mime.ParseMediaType(contentType[0])
	if err != nil || media != "application/x-www-form-urlencoded" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// noStore keeps answers of the token endpoint out of caches that are older
// than Cache-Control too (RFC 6749 section 5.1).
func noStore(w http.ResponseWriter) { w.Header().Set("Pragma", "no-cache") }
