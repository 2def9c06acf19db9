package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/login"
	"github.com/warder-gateway/warder/internal/store"
)

type tokenCmd struct {
	Revoke      tokenRevokeCmd   `cmd:"" help:"Take tokens and browser sessions back at once, on every gateway of the store, open streams included."`
	ListRevoked tokenListCmd     `cmd:"" help:"List what was revoked."`
	Unrevoke    tokenUnrevokeCmd `cmd:"" help:"Undo a revocation: what it names is judged as if it had not been."`
}

type tokenRevokeCmd struct {
	Token    bool     `xor:"what" help:"The token on standard input, alone."`
	JTI      string   `name:"jti" xor:"what" help:"The token of this id (jti) of --issuer." placeholder:"JTI"`
	Session  string   `xor:"what" help:"The browser session of this name, as the access log (session) and warder explain print it. It is ended for good: its user logs in again." placeholder:"SESSION"`
	Subject  string   `xor:"what" help:"The tokens and sessions of this subject (sub) of --issuer, begun until now or --before." placeholder:"SUB"`
	Consumer string   `xor:"what" help:"The tokens and sessions of this consumer, as warder explain prints it, begun until now or --before." placeholder:"NAME"`
	All      bool     `xor:"what" help:"All tokens and sessions of all issuers, begun until now or --before: everybody logs in again."`
	Issuer   string   `help:"Issuer: its name in the configuration file, or its URL. With --before alone: all its tokens and sessions begun until then." placeholder:"ISSUER"`
	Before   moment   `help:"Tokens issued, and sessions begun, until then: a moment such as 2027-01-31T12:00:00Z, or now." placeholder:"TIME"`
	Expires  lifetime `help:"When the revocation is forgotten: after a time such as 90d, or with a day. Only if no such token lives longer; default: never, but for --token, which says itself when it ends." placeholder:"TIME"`
	Unknown  bool     `help:"Record it also if the configuration knows no such issuer or consumer: another gateway of the store may."`
	storeFlags
	outputFlag

	names    *app.Names // nil: there is no configuration to look anything up in
	unlisted bool       // the configuration has no such issuer
}

// moment is a point in time of the past, or now.
type moment struct {
	at  time.Time
	set bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	m.set = true
	if string(text) == "now" {
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(text))
	if err != nil || at.Unix() <= 0 {
		return fmt.Errorf("%q is no moment such as 2027-01-31T12:00:00Z, and not now", text)
	}
	m.at = at
	return nil
}

// maxTokenInput bounds what is read of a token, in bytes.
const maxTokenInput = 64 << 10

func (c *tokenRevokeCmd) Run(e *env) error {
	if err := c.find(e); err != nil {
		return err
	}
	if c.Session != "" {
		return c.endSession(e)
	}
	var err error
	if c.names, err = c.storeFlags.names(e); err != nil {
		return err
	}
	now := time.Now()
	r, err := c.revocation(e, now)
	if err != nil {
		return err
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		doubt, err := c.doubt(ctx, s, &r)
		if err != nil {
			return err
		}
		if r, err = directory.Revoke(ctx, s, r, now); err != nil {
			return err
		}
		if err := c.print(e, revokedOf(r), doubt); err != nil {
			return err
		}
		if doubt != "" {
			fmt.Fprintf(e.err, "warning: this is recorded, and nothing known goes by it: %s. Look again whom you mean\n", doubt)
			if !c.Unknown {
				return errNo
			}
		}
		return nil
	})
}

// doubt says why nothing that is known goes by a consumer's name. What is
// recorded of it may be nobody's; not to record it could be worse.
func (c *tokenRevokeCmd) doubt(ctx context.Context, s *store.Store, r *directory.Revocation) (string, error) {
	if r.What != exchange.RevokedConsumer || c.names == nil {
		return "", nil
	}
	_, err := directory.GetConsumer(ctx, s, r.Name)
	if err != nil && !errors.Is(err, directory.ErrUnknown) {
		return "", err
	}
	return c.names.TokensOf(r.Name, err == nil), nil
}

// print says what was revoked, and what is not known of it.
func (c *tokenRevokeCmd) print(e *env, r revokedOut, doubt string) error {
	if c.Output == "json" {
		return e.json(r)
	}
	switch named := r.Issuer != "" || r.What == exchange.RevokedConsumer; {
	case c.names == nil && named:
		fmt.Fprintf(e.out, "recorded: %s; every gateway of this store refuses within a second what it knows by this. Nobody looked whether there is such, for want of a configuration; -c names one\n", r.text())
	case doubt != "" || c.unlisted:
		fmt.Fprintf(e.out, "recorded: %s\n", r.text())
	default:
		fmt.Fprintf(e.out, "revoked: %s; refused on every gateway of this store within a second\n", r.text())
	}
	if !r.Before.IsZero() {
		skew, about := time.Minute, "at the latest"
		if c.names != nil {
			skew, about = c.names.ClockSkew(r.Issuer), "clockSkew"
		}
		fmt.Fprintf(e.out, "tokens issued after %s pass (%v later: %s), and sessions begun a second after that moment\n", r.Before.Add(skew).Format(time.RFC3339), skew, about)
	}
	fmt.Fprintf(e.out, "to undo it: warder token unrevoke %s%s\n", r.ID[:12], c.again())
	return nil
}

// endSession ends a session. There is nothing to remember: what is not in the
// store is no session.
func (c *tokenRevokeCmd) endSession(e *env) error {
	if c.Issuer != "" || c.Before.set || c.Expires != (lifetime{}) {
		return usageError("--session names one session, which is ended for good: --issuer, --before and --expires have no meaning beside it")
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		if err := login.End(ctx, s, c.Session); err != nil {
			return err
		}
		if c.Output == "json" {
			return e.json(map[string]string{"what": "session", "name": c.Session})
		}
		fmt.Fprintf(e.out, "ended: session %s; refused on every gateway of this store within a second. Its user may log in again\n", c.Session)
		return nil
	})
}

func (c *tokenRevokeCmd) revocation(e *env, now time.Time) (r directory.Revocation, err error) {
	r.Expires = c.Expires.from(now)
	if r.Issuer, err = c.issuer(e); err != nil {
		return r, err
	}
	r.Before = now
	if c.Before.set && !c.Before.at.IsZero() {
		r.Before = c.Before.at
	}
	if r.Before.After(now) {
		return r, usageError("--before is in the future; what is not issued yet cannot be revoked")
	}
	one := c.Token || c.JTI != ""
	switch {
	case one && c.Before.set:
		return r, usageError("--before has no meaning for one token: it is revoked whenever it was issued")
	case (c.JTI != "" || c.Subject != "") && r.Issuer == "":
		return r, usageError("--jti and --subject need --issuer: other issuers may give the same to others")
	case (c.Token || c.Consumer != "") && r.Issuer != "":
		return r, usageError("--token and --consumer name their issuer themselves; leave --issuer out")
	case c.All && r.Issuer != "":
		return r, usageError("--all is of all issuers; for those of one, leave it out and give --before now")
	}
	switch {
	case c.Token:
		r.What, r.Before = exchange.RevokedToken, time.Time{}
		var ends time.Time
		if r.Name, ends, err = c.readToken(e); err == nil && r.Expires.IsZero() && !ends.IsZero() {
			if r.Expires = ends.Add(time.Hour); !r.Expires.After(now) { // clocks differ by a minute at most
				return r, fmt.Errorf("this token ended at %s and is refused anyway; nothing was done", day(ends))
			}
		}
		return r, err
	case c.JTI != "":
		r.What, r.Name, r.Before = exchange.RevokedID, c.JTI, time.Time{}
	case c.Subject != "":
		r.What, r.Name = exchange.RevokedSubject, c.Subject
	case c.Consumer != "":
		r.What, r.Name = exchange.RevokedConsumer, c.Consumer
	case c.Before.set && r.Issuer != "":
		r.What = exchange.RevokedIssuer
	case c.All:
		r.What = exchange.RevokedAll
	case c.Before.set:
		return r, usageError("--before alone would be of everybody at all issuers; if that is meant, add --all, else say whose: --issuer, --subject or --consumer")
	default:
		return r, usageError("say what to revoke: --token, --jti, --session, --subject or --consumer; or --issuer with --before, or --all: all tokens and sessions begun until then")
	}
	return r, nil
}

// issuer returns the URL of --issuer: what tokens say, whatever the name of
// the issuer is in a file.
func (c *tokenRevokeCmd) issuer(e *env) (string, error) {
	isURL := strings.Contains(c.Issuer, "://")
	switch {
	case c.Issuer == "" || c.names == nil && isURL:
		return c.Issuer, nil
	case c.names == nil:
		return "", usageError("there is no configuration to find this issuer in; --issuer takes its URL, or with -c FILE its name in that file")
	}
	url, err := c.names.Issuer(c.Issuer)
	switch {
	case err == nil || !isURL:
		return url, err
	case !c.Unknown:
		return "", fmt.Errorf("%w. Nothing was recorded; --unknown records it all the same", err)
	}
	c.unlisted = true
	fmt.Fprintf(e.err, "warning: %v\n", err)
	return c.Issuer, nil
}

// readToken returns the digest of the token, and when it ends if it says so: who
// would lie about that revokes nothing but a token that is refused anyway.
func (c *tokenRevokeCmd) readToken(e *env) (digest string, ends time.Time, err error) {
	b, err := io.ReadAll(io.LimitReader(e.in, maxTokenInput+1))
	b = bytes.TrimSpace(b)
	if err != nil || len(b) == 0 || len(b) > maxTokenInput || bytes.ContainsAny(b, " \t\r\n") {
		return "", ends, usageError("expected one token on standard input; pipe it in, as it is in the field Authorization behind Bearer")
	}
	payload, ok := jwtPayload(string(b))
	switch {
	case ok:
		var claims struct {
			Exp int64 `json:"exp"`
		}
		if json.Unmarshal(payload, &claims) == nil && claims.Exp > 0 && claims.Exp < 1<<36 {
			ends = time.Unix(claims.Exp, 0)
		}
	case c.names != nil && !c.names.Opaque():
		return "", ends, fmt.Errorf("this is no JWT (three parts of base64url with dots between them), and no issuer of the configuration is asked about other tokens: nothing was revoked. Was it cut, or quoted?")
	case c.names == nil:
		fmt.Fprintln(e.err, "warning: this is no JWT, and nobody knows whether an issuer is asked about other tokens, for want of a configuration. Was it cut, or quoted?")
	}
	sum := exchange.TokenDigest(b)
	return hex.EncodeToString(sum[:]), ends, nil
}

// jwtPayload returns the middle part of what has the form of a JWT.
func jwtPayload(token string) (payload []byte, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, false
	}
	for i, part := range parts {
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || len(b) == 0 {
			return nil, false
		}
		if i == 1 {
			payload = b
		}
	}
	return payload, true
}

type tokenListCmd struct {
	storeFlags
	outputFlag
}

// revokedOut is a revocation as it is printed.
type revokedOut struct {
	ID      string    `json:"id"`
	What    string    `json:"what"`
	Issuer  string    `json:"issuer,omitempty"`
	Name    string    `json:"name,omitempty"`
	Before  time.Time `json:"before,omitzero"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

func revokedOf(r directory.Revocation) revokedOut {
	return revokedOut{r.ID(), r.What, r.Issuer, r.Name, r.Before.UTC(), r.Created.UTC(), r.Expires.UTC()}
}

// text says in words what is revoked.
func (r *revokedOut) text() string {
	text := ""
	switch r.What {
	case exchange.RevokedToken:
		text = "the token with digest " + r.Name[:12]
	case exchange.RevokedID:
		text = fmt.Sprintf("the token with jti %q of %s", r.Name, r.Issuer)
	case exchange.RevokedSubject:
		text = fmt.Sprintf("tokens and sessions of subject %q of %s", r.Name, r.Issuer)
	case exchange.RevokedConsumer:
		text = fmt.Sprintf("tokens and sessions of consumer %q", r.Name)
	case exchange.RevokedIssuer:
		text = "tokens and sessions of " + r.Issuer
	default:
		text = "all tokens and sessions"
	}
	if !r.Before.IsZero() {
		text += " issued or begun until " + r.Before.Format(time.RFC3339)
	}
	return text
}

func (c *tokenListCmd) Run(e *env) error {
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		all := []revokedOut{}
		if err := directory.EachRevocation(ctx, s, func(r directory.Revocation) error {
			all = append(all, revokedOf(r))
			return nil
		}); err != nil {
			return err
		}
		if c.Output == "json" {
			return e.json(all)
		}
		if len(all) == 0 {
			fmt.Fprintln(e.out, "no token was revoked")
			return nil
		}
		rows := [][]string{{"ID", "REVOKED", "FORGOTTEN", "WHAT"}}
		for _, r := range all {
			rows = append(rows, []string{r.ID[:12], day(r.Created), day(r.Expires), r.text()})
		}
		return e.table(rows)
	})
}

type tokenUnrevokeCmd struct {
	ID string `arg:"" help:"Id of the revocation, as warder token list-revoked prints it."`
	storeFlags
}

func (c *tokenUnrevokeCmd) Run(e *env) error {
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		if err := directory.Unrevoke(ctx, s, c.ID); err != nil {
			return err
		}
		fmt.Fprintf(e.out, "revocation %s is undone\n", c.ID)
		return nil
	})
}
