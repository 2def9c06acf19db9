package login

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/store"
)

// logout ends a session here and sends the browser to the issuer to end it
// there (OpenID Connect RP-Initiated Logout 1.0). A request that a page of
// this site did not make is asked back first.
func (p *Party) logout(w http.ResponseWriter, r *http.Request) {
	cookie := onlyCookie(r, p.cookie)
	if !ownPage(r) {
		if r.Method == http.MethodPost {
			p.refuse(w, fault.CSRFRefused, "neither Sec-Fetch-Site nor Origin says that a page of this site asks", "")
			return
		}
		p.say(w, "Log out?", `<p>Your session here, and that at the issuer, will end. To stay logged in, leave this page.</p><form method="post"><button>Log out</button></form>`)
		return
	}
	to := p.external(r, pathDone)
	if cookie != "" {
		s, err := p.session(r.Context(), []byte(cookie), []byte(r.URL.Host), p.cfg.Sessions.now(), true)
		hint, who, home := "", "", ""
		if err == nil {
			st := s.state.Load()
			hint, who, home = st.doc.IDToken, st.doc.Subject, st.doc.Home
		}
		if err := p.cfg.Sessions.end(r.Context(), sha256.Sum256([]byte(cookie))); err != nil {
			// The cookie stays: the browser may try again.
			p.fails(w, fault.IdentityUnavailable, safeReturn(home), err)
			return
		}
		if home != "" { // the issuer is not told of it
			setCookie(w, homeCookie, encode([]byte(home)), pendingFor)
		}
		p.cfg.Log.Info("logout", "issuer", p.cfg.Name, "subject", who, "from", from(r))
		setCookie(w, p.cookie, "", -1)
		if doc, err := p.cfg.Provider.Document(r.Context()); err == nil && hint != "" {
			if at, err := p.cfg.Provider.Endpoint(doc, "end_session_endpoint"); err == nil && at != "" {
				u, _ := url.Parse(at)
				q := u.Query()
				q.Set("id_token_hint", hint)
				q.Set("client_id", p.cfg.ClientID)
				q.Set("post_logout_redirect_uri", to)
				u.RawQuery = q.Encode()
				to = u.String()
			}
		}
	}
	redirect(w, http.StatusSeeOther, to)
}

// ownPage reports whether a page of this site made the request.
func ownPage(r *http.Request) bool {
	site, origin := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	return len(site) == 1 && site[0] == "same-origin" || len(origin) == 1 && origin[0] == r.URL.Scheme+"://"+r.URL.Host
}

// homeCookie leads back to the application after a logout.
const homeCookie = exchange.CookiePrefix + "home"

// done says that the logout is complete. What the browser brings is judged
// like any place to return to.
func (p *Party) done(w http.ResponseWriter, r *http.Request) {
	home, _ := decode(onlyCookie(r, homeCookie))
	if len(home) > 0 {
		setCookie(w, homeCookie, "", -1)
	}
	p.say(w, "You are logged out", `<p><a class="do" href="`+html.EscapeString(safeReturn(string(home)))+`">Back to the application</a></p>`)
}

// backChannel ends sessions at the word of the issuer (OpenID Connect
// Back-Channel Logout 1.0).
func (p *Party) backChannel(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, err error) {
		code := fault.LoginFailed
		if status == http.StatusServiceUnavailable {
			code = fault.IdentityUnavailable
		}
		note(w, code, "a logout by the issuer: "+err.Error())
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request"})
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		refuse(http.StatusBadRequest, errors.New("the body is no form"))
		return
	}
	if err := r.ParseForm(); err != nil || len(r.PostForm["logout_token"]) != 1 {
		refuse(http.StatusBadRequest, errors.New("the form has no logout_token, or more than one"))
		return
	}
	now := p.cfg.Sessions.now()
	sub, sid, jti, err := p.logoutToken(r.Context(), r.PostForm.Get("logout_token"), now)
	if err != nil {
		status := http.StatusBadRequest
		if code := fault.Of(err); code == fault.IdentityUnavailable || code == fault.KeysStale {
			status = http.StatusServiceUnavailable
		}
		refuse(status, err)
		return
	}
	switch err := p.once(r.Context(), "jti", jti, now.Add(maxLogoutAge+time.Hour)); {
	case errors.Is(err, store.ErrExists):
		refuse(http.StatusBadRequest, errors.New("the logout token was used before"))
		return
	case err != nil:
		refuse(http.StatusServiceUnavailable, err)
		return
	}
	n, err := p.endAll(r, sub, sid)
	if err != nil {
		p.again(r.Context(), "jti", jti) // the issuer may try again
		refuse(http.StatusServiceUnavailable, err)
		return
	}
	p.cfg.Log.Info("logout by the issuer", "issuer", p.cfg.Name, "subject", sub, "sessions", n)
	if r, ok := w.(Recorder); ok {
		r.Happened("logout by the issuer")
	}
	w.WriteHeader(http.StatusOK)
}

// endAll ends the sessions of a session of the issuer's, or of a subject.
func (p *Party) endAll(r *http.Request, sub, sid string) (n int, err error) {
	st := p.cfg.Sessions.store.Load()
	if st == nil {
		return 0, errors.New("there is no store yet")
	}
	owner, by := p.owner(sub), p.bySID(sid)
	q := store.Query{Kind: kindSession, Owner: string(owner[:])}
	if sid != "" {
		q = store.Query{Kind: kindBySID, Prefix: string(by[:])}
	}
	for {
		page, next, err := st.List(r.Context(), q)
		if err != nil {
			return n, err
		}
		var digests [][32]byte
		for i := range page {
			if id := page[i].ID; len(id) >= 32 {
				digests = append(digests, [32]byte([]byte(id[len(id)-32:])))
			}
		}
		if err := p.cfg.Sessions.end(r.Context(), digests...); err != nil {
			return n, err
		}
		if n += len(digests); next == "" {
			return n, nil
		}
		q.After = next
	}
}

// fails says that a login, or a logout, could not be completed, and tells the
// operator why.
func (p *Party) fails(w http.ResponseWriter, code fault.Code, back string, err error) {
	p.cfg.Log.Warn("login failed", "issuer", p.cfg.Name, "code", code.String(), "error", err)
	p.refuse(w, code, err.Error(), back)
}

// Recorder is an http.ResponseWriter whose requests leave a record.
type Recorder interface {
	// Refused notes that an answer of ours is a refusal, and why, for operators.
	Refused(code fault.Code, reason string)
	// Happened notes an event of security, a constant.
	Happened(event string)
}

// note notes a refusal where there is a record.
func note(w http.ResponseWriter, code fault.Code, reason string) {
	if r, ok := w.(Recorder); ok {
		r.Refused(code, reason)
	}
}

// Refuser is an http.ResponseWriter of whoever writes refusals.
type Refuser interface {
	// Refuse refuses the request in place of an answer. back is a path of ours
	// where the user may begin anew, "" for none.
	Refuse(code fault.Code, reason, back string)
}

// refuse says no to a browser.
func (p *Party) refuse(w http.ResponseWriter, code fault.Code, reason, back string) {
	if code.Status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", Challenge(p.cfg.Name))
	}
	if r, ok := w.(Refuser); ok {
		r.Refuse(code, reason, back)
		return
	}
	w.WriteHeader(code.Status())
}

// Challenge is that of a route that wants a browser session.
func Challenge(name string) string { return `Cookie realm="` + name + `"` }

// say writes a page of ours. title and body are HTML.
func (p *Party) say(w http.ResponseWriter, title, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", fault.PagePolicy)
	h.Set("X-Frame-Options", "DENY")
	w.Write(fault.AppendPage(nil, title, body))
}
