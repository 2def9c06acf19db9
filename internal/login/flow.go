package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/store"
)

const (
	pendingFor  = 10 * time.Minute // to log in
	mostPending = 5                // logins that a browser may have begun
	maxCode     = 4 << 10          // bytes of what comes with a callback
)

// pendingPrefix begins the cookies of logins that have begun.
const pendingPrefix = exchange.CookiePrefix + "login-"

// pending is a login that has begun. Its browser keeps it, sealed.
type pending struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Return   string `json:"return"`
	At       int64  `json:"at"` // Unix nanoseconds
}

// ServeHTTP answers the routes of the party. The scheme and the host of the URL
// are those that the browser asked for.
func (p *Party) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "same-origin")
	what := strings.TrimPrefix(r.URL.Path, p.base)
	if what == pathBackChannel {
		p.backChannel(w, r)
		return
	}
	if host := hostname(r.URL.Host); r.URL.Scheme != "https" && host != "localhost" && host != "127.0.0.1" && host != "[::1]" {
		p.refuse(w, fault.TransportInsecure, "logins need HTTPS, but on this machine", "")
		return
	}
	switch what {
	case pathStart:
		p.start(w, r)
	case pathCallback:
		p.callback(w, r)
	case pathLogout:
		p.logout(w, r)
	case pathDone:
		p.done(w, r)
	default:
		p.refuse(w, fault.RouteUnknown, "there is no such page", "")
	}
}

// from returns the address of the client alone: behind a proxy nobody knows
// its port.
func from(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return peer.Addr().String()
}

// external returns a URL of ours as the browser has to be given it.
func (p *Party) external(r *http.Request, what string) string {
	return r.URL.Scheme + "://" + r.URL.Host + p.base + what
}

// only returns the value of a query parameter that occurs once at most.
func only(q url.Values, name string) (string, bool) {
	v := q[name]
	if len(v) > 1 || len(v) == 1 && len(v[0]) > maxCode {
		return "", false
	}
	return q.Get(name), true
}

// start sends a browser to the issuer.
func (p *Party) start(w http.ResponseWriter, r *http.Request) {
	now := p.cfg.Sessions.now()
	to, _ := only(r.URL.Query(), "return")
	back := safeReturn(to)
	doc, err := p.cfg.Provider.Document(r.Context())
	var at string
	if err == nil {
		at, err = p.cfg.Provider.Endpoint(doc, "authorization_endpoint")
	}
	k := p.cfg.Sessions.keys.Load()
	if err == nil && (at == "" || k == nil) {
		err = errors.New("the issuer has no authorization_endpoint, or there are no keys yet")
	}
	if err != nil {
		p.fails(w, fault.IdentityUnavailable, back, err)
		return
	}
	one := pending{State: encode(random(32)), Nonce: encode(random(32)), Verifier: encode(random(32)), Return: back, At: now.UnixNano()}
	plain, err := json.Marshal(one)
	if err != nil {
		p.fails(w, fault.InternalError, back, err)
		return
	}
	sealed, err := k.Seal(r.Context(), p.pendingBinding(r), plain)
	if err != nil {
		p.fails(w, fault.InternalError, back, err)
		return
	}
	p.forgetPending(w, r, now)
	setCookie(w, pendingName(one.State), encode(sealed), pendingFor)
	u, _ := url.Parse(at) // Endpoint has done so
	q := u.Query()
	challenge := sha256.Sum256([]byte(one.Verifier))
	for name, value := range map[string]string{
		"response_type": "code", "client_id": p.cfg.ClientID, "redirect_uri": p.external(r, pathCallback), "scope": strings.Join(p.cfg.Scopes, " "),
		"state": one.State, "nonce": one.Nonce, "code_challenge": encode(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	if slices.Contains(p.cfg.Scopes, "offline_access") && q.Get("prompt") == "" {
		q.Set("prompt", "consent") // without which it is not granted (OpenID Connect Core 1.0 section 11)
	}
	u.RawQuery = q.Encode()
	redirect(w, http.StatusFound, u.String())
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func pendingName(state string) string {
	d := sha256.Sum256([]byte(state))
	return pendingPrefix + encode(d[:9])
}

// pendingBinding binds a login that has begun to this party and host.
func (p *Party) pendingBinding(r *http.Request) keys.Binding {
	return keys.Binding{Purpose: "login", Record: p.context(hostname(r.URL.Host))}
}

// unsealPending returns a login that this browser has begun; nil if the cookie is
// none of this party's, or too old.
func (p *Party) unsealPending(r *http.Request, value string, now time.Time) *pending {
	sealed, ok := decode(value)
	k := p.cfg.Sessions.keys.Load()
	if !ok || k == nil {
		return nil
	}
	plain, err := k.Unseal(r.Context(), p.pendingBinding(r), sealed)
	one := &pending{}
	if err != nil || json.Unmarshal(plain, one) != nil {
		return nil
	}
	age := now.Sub(time.Unix(0, one.At))
	if age < -p.cfg.ClockSkew || age >= pendingFor {
		return nil
	}
	return one
}

// forgetPending removes the oldest of the logins that a browser has begun, so
// that one more has room, and those that can no longer end. Those of other
// parties count as the oldest.
func (p *Party) forgetPending(w http.ResponseWriter, r *http.Request, now time.Time) {
	type held struct {
		name string
		at   int64
	}
	var all []held
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, pendingPrefix) {
			continue
		}
		h := held{name: c.Name}
		if one := p.unsealPending(r, c.Value, now); one != nil {
			h.at = one.At
		}
		all = append(all, h)
	}
	slices.SortStableFunc(all, func(a, b held) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	for i := 0; i < len(all)-(mostPending-1); i++ {
		setCookie(w, all[i].name, "", -1)
	}
}

// callback ends a login: the issuer has sent the browser back.
func (p *Party) callback(w http.ResponseWriter, r *http.Request) {
	now := p.cfg.Sessions.now()
	q, err := url.ParseQuery(r.URL.RawQuery)
	state, ok := only(q, "state")
	if err != nil || !ok || state == "" {
		p.fails(w, fault.LoginFailed, "/", errors.New("the callback has no state, or more than one"))
		return
	}
	// The login must have been begun by this browser: a stolen or forged
	// callback ends here.
	name := pendingName(state)
	cookie := onlyCookie(r, name)
	one := p.unsealPending(r, cookie, now)
	if one == nil || subtle.ConstantTimeCompare([]byte(one.State), []byte(state)) != 1 {
		p.fails(w, fault.LoginFailed, "/", errors.New("this browser has not begun this login, or more than ten minutes ago"))
		return
	}
	setCookie(w, name, "", -1)
	back := safeReturn(one.Return)
	switch err := p.once(r.Context(), "state", state, now.Add(pendingFor+time.Minute)); {
	case errors.Is(err, store.ErrExists):
		p.fails(w, fault.LoginFailed, back, errors.New("the callback was used before"))
		return
	case err != nil:
		p.fails(w, fault.IdentityUnavailable, back, err)
		return
	}
	code, err := p.code(r.Context(), q)
	if err != nil {
		p.fails(w, failure(err), back, err)
		return
	}
	value, who, err := p.exchange(r, code, one, now)
	if err != nil {
		p.fails(w, failure(err), back, err)
		return
	}
	// What the browser had before is not what it has from now on.
	if old := onlyCookie(r, p.cookie); old != "" {
		if err := p.cfg.Sessions.end(r.Context(), sha256.Sum256([]byte(old))); err != nil {
			p.cfg.Log.Warn("the session before a login could not be ended", "error", err)
		}
	}
	setCookie(w, p.cookie, value, 0)
	p.cfg.Log.Info("login", "issuer", p.cfg.Name, "subject", who, "from", from(r))
	redirect(w, http.StatusFound, back)
}

// failure tells a refusal from an outage.
func failure(err error) fault.Code {
	var out *outage
	if errors.As(err, &out) {
		return fault.IdentityUnavailable
	}
	return fault.LoginFailed
}

// outage is an error that trying again may mend.
type outage struct{ error }

// code returns the code of an authorization response (RFC 6749 section 4.1.2,
// RFC 9207).
func (p *Party) code(ctx context.Context, q url.Values) (string, error) {
	doc, err := p.cfg.Provider.Document(ctx)
	if err != nil {
		return "", &outage{err}
	}
	iss, ok := only(q, "iss")
	announced, _ := doc.Get("authorization_response_iss_parameter_supported")
	if !ok || (announced == "true" || q.Has("iss")) && iss != p.cfg.Issuer {
		return "", errors.New("iss of the callback is not the issuer")
	}
	no, ok := only(q, "error")
	switch {
	case !ok:
		return "", errors.New("the callback has more than one error")
	case no == "temporarily_unavailable" || no == "server_error":
		return "", &outage{errors.New("the issuer answers " + no)}
	case no != "":
		return "", &keys.Rejected{Code: no}
	}
	code, ok := only(q, "code")
	if !ok || code == "" {
		return "", errors.New("the callback has no code, or more than one")
	}
	return code, nil
}

// exchange gets tokens for a code and begins a session.
func (p *Party) exchange(r *http.Request, code string, one *pending, now time.Time) (cookie, subject string, err error) {
	answer, err := p.cfg.Provider.Token(r.Context(), url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.external(r, pathCallback)}, "code_verifier": {one.Verifier},
	})
	var no *keys.Rejected
	switch {
	case errors.As(err, &no):
		return "", "", err
	case err != nil:
		return "", "", &outage{err}
	}
	kind, _ := top(answer, "token_type")
	access, _ := top(answer, "access_token")
	token, ok := top(answer, "id_token")
	if !ok || access == "" || !strings.EqualFold(kind, "bearer") {
		return "", "", errors.New("the answer lacks id_token, or access_token of type Bearer")
	}
	began := p.cfg.Sessions.now()
	s, err := p.idToken(r.Context(), token, one.Nonce, access, time.Unix(0, one.At), began)
	if err != nil {
		if code := fault.Of(err); code == fault.IdentityUnavailable || code == fault.KeysStale {
			err = &outage{err}
		}
		return "", "", err
	}
	home, _, _ := strings.Cut(safeReturn(one.Return), "?")
	doc := document{IDToken: token, Home: home, Scopes: p.granted(answer), Began: began.UnixMilli(), Seen: began.UnixMilli()}
	doc.Subject, _ = top(s.claims, "sub")
	doc.SID, _ = top(s.claims, "sid")
	if doc.Refresh, _ = top(answer, "refresh_token"); len(doc.Refresh) > maxToken {
		return "", "", errors.New("the refresh token is longer than 16 KiB")
	}
	doc.RefreshAt = refreshAt(doc.Refresh, answer, now)
	if cookie, err = p.begin(r.Context(), hostname(r.URL.Host), doc); err != nil {
		return "", "", &outage{err}
	}
	return cookie, doc.Subject, nil
}

// onlyCookie returns the value of a cookie that occurs once; "" otherwise.
func onlyCookie(r *http.Request, name string) string {
	if all := r.CookiesNamed(name); len(all) == 1 && len(all[0].Value) <= maxCookie {
		return all[0].Value
	}
	return ""
}

// setCookie sets a cookie of ours. A life of 0 is that of the browser, one
// below removes it.
func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	switch {
	case life > 0:
		c.MaxAge = int(life / time.Second)
	case life < 0:
		c.MaxAge = -1
	}
	w.Header().Add("Set-Cookie", c.String())
}

func redirect(w http.ResponseWriter, status int, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}
