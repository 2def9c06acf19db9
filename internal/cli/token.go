package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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
	Issuer   string   `help:"Issuer: its name in the configuration file, or its URL. With --before alone: all its tokens and sessions begun until then." placeholder:"ISSUER"`
	Before   moment   `help:"Tokens issued, and sessions begun, until then: a moment such as 2027-01-31T12:00:00Z, or now. Without anything else: all of all issuers." placeholder:"TIME"`
	Expires  lifetime `help:"When the revocation is forgotten: after a time such as 90d, or with a day. Only if no such token lives longer; default: never, but for --token, which says itself when it ends." placeholder:"TIME"`
	storeFlags
	outputFlag
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
	now := time.Now()
	r, err := c.revocation(e.in, now)
	if err != nil {
		return err
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		r, err := directory.Revoke(ctx, s, r, now)
		if err != nil {
			return err
		}
		out := revokedOf(r)
		if c.Output == "json" {
			return e.json(out)
		}
		fmt.Fprintf(e.out, "revoked: %s; refused on every gateway of this store within a second\nto undo it: warder token unrevoke %s\n", out.text(), out.ID[:12])
		return nil
	})
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

func (c *tokenRevokeCmd) revocation(in io.Reader, now time.Time) (r directory.Revocation, err error) {
	r.Expires = c.Expires.from(now)
	if r.Issuer, err = c.issuer(); err != nil {
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
	}
	switch {
	case c.Token:
		r.What, r.Before = exchange.RevokedToken, time.Time{}
		var ends time.Time
		if r.Name, ends, err = readToken(in); err == nil && r.Expires.IsZero() && !ends.IsZero() {
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
	case c.Before.set:
		r.What = exchange.RevokedAll
	default:
		return r, usageError("say what to revoke: --token, --jti, --session, --subject or --consumer; or with --before alone, or with --issuer, all tokens issued until then")
	}
	return r, nil
}

// issuer returns the URL of --issuer: what tokens say, whatever the name of
// the issuer is in a file.
func (c *tokenRevokeCmd) issuer() (string, error) {
	if c.Issuer == "" || strings.Contains(c.Issuer, "://") {
		return c.Issuer, nil
	}
	if c.Config == "" {
		return "", usageError("--issuer takes the issuer's URL, or with -c FILE its name in that file")
	}
	return app.IssuerURL(c.Config, c.Issuer)
}

// readToken returns the digest of a token, and when it ends if it says so: who
// would lie about that revokes nothing but a token that is refused anyway.
func readToken(in io.Reader) (digest string, ends time.Time, err error) {
	b, err := io.ReadAll(io.LimitReader(in, maxTokenInput+1))
	b = bytes.TrimSpace(b)
	if err != nil || len(b) == 0 || len(b) > maxTokenInput || bytes.ContainsAny(b, " \t\r\n") {
		return "", ends, usageError("expected one token on standard input; pipe it in, as it is in the field Authorization behind Bearer")
	}
	sum := exchange.TokenDigest(b)
	if parts := strings.Split(string(b), "."); len(parts) == 3 {
		var claims struct {
			Exp int64 `json:"exp"`
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.Unmarshal(payload, &claims) == nil && claims.Exp > 0 && claims.Exp < 1<<36 {
			ends = time.Unix(claims.Exp, 0)
		}
	}
	return hex.EncodeToString(sum[:]), ends, nil
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
