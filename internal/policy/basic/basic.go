// Package basic is the policy that proves a consumer by its name and a
// password: auth.basic (RFC 7617).
package basic

import (
	"bytes"
	"encoding/base64"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/password"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Config is true: there is nothing to choose.
type Config bool

// UnmarshalText reads true.
func (c *Config) UnmarshalText(text []byte) error {
	if string(text) != "true" {
		return errors.New(`is written "true"; leave basic out where no password is asked for`)
	}
	*c = true
	return nil
}

const (
	maxUser = 128 // bytes; also what a consumer with a password may be called
	// maxCredential is the length of the longest user name and password in base64.
	maxCredential = (maxUser + 1 + password.MaxBytes + 2) / 3 * 4
	retryBusy     = 2 * time.Second
)

// New compiles the policy.
func New(_ Config, env pipeline.Env) (pipeline.Parts, error) {
	if env.Directory == nil || env.Guard == nil {
		return pipeline.Parts{}, errors.New("auth.basic: no directory to find consumers in, or nothing that guards their passwords")
	}
	return pipeline.Parts{
		Authenticate: &passwords{directory: env.Directory, guard: env.Guard.Passwords, spared: env.Spared},
		Check:        exchange.Check{Phase: "authenticate", Name: "basic", Want: "a consumer's name and password"},
		Challenge:    pipeline.Challenge{Scheme: "Basic", Params: `realm="warder", charset="UTF-8"`},
		Credentials:  []string{"authorization"},
	}, nil
}

// passwords is the compiled policy. Safe for concurrent use.
type passwords struct {
	directory pipeline.Directory
	guard     *guessing.Passwords
	spared    guessing.Spared
	known     sync.Map // *exchange.Consumer -> *exchange.Identity, of those that were proved
}

// Authenticate implements pipeline.Authenticator.
func (p *passwords) Authenticate(x *exchange.Exchange, w *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	value, n := x.Req.Get(exchange.HeaderAuthorization)
	switch {
	case n == 0:
		return nil, pipeline.NotMine
	case n > 1:
		x.Trail.Saw("because", "there is more than one Authorization field")
		return nil, pipeline.Refuse(fault.CredentialAmbiguous)
	}
	encoded, mine := credential(value)
	if !mine {
		return nil, pipeline.NotMine
	}
	user, secret, why := split(encoded, x.Alloc)
	if why != "" {
		x.Trail.Saw("because", why)
		return nil, pipeline.Refuse(fault.PasswordWrong)
	}
	stored, consumer := p.directory.Password(user)
	attempt := guessing.Attempt{
		Known: consumer != nil, Stored: stored, Password: secret,
		From: x.Client, Spared: p.spared, Now: w.Now, Waiting: x,
	}
	if consumer != nil {
		x.Trail.Saw("consumer", consumer.Name)
		attempt.Account = consumer.Name
	} else {
		attempt.Account = string(user)
	}
	if !w.Remote {
		if p.guard.Remembered(&attempt) {
			return p.identity(consumer, stored), pipeline.Pass
		}
		x.Trail.Saw("because", "passwords are only worked out for requests that are served")
		return nil, pipeline.CannotTell(fault.PasswordWrong)
	}
	switch answer := p.guard.Check(&attempt); {
	case answer == guessing.Right && consumer != nil:
		return p.identity(consumer, stored), pipeline.Pass
	case answer == guessing.Busy:
		x.Trail.Saw("because", "no turn to work the password out came in time")
		x.RetryAfter = retryBusy
		return nil, pipeline.Refuse(fault.Overloaded)
	case answer == guessing.Locked:
		x.Trail.Saw("network", guessing.Network(x.Client).String())
		if until := p.guard.LockedUntil(&attempt); !until.IsZero() {
			x.Trail.Saw("until", until.Add(time.Second).UTC().Format("15:04:05Z")) // seconds, never too early
		}
		return nil, pipeline.Refuse(fault.AccountLocked)
	case consumer == nil:
		// The name is not noted: people type passwords there.
		x.Trail.Saw("because", "no consumer of this name has a password")
	}
	return nil, pipeline.Refuse(fault.PasswordWrong)
}

// identity returns the identity of a consumer that was proved.
func (p *passwords) identity(c *exchange.Consumer, stored *password.Hash) *exchange.Identity {
	if id, ok := p.known.Load(c); ok {
		return id.(*exchange.Identity)
	}
	id, _ := p.known.LoadOrStore(c, &exchange.Identity{
		Method: "basic", Proof: "password", Consumer: c.Name, Named: c, Roles: c.Roles, Password: stored.ID(),
	})
	return id.(*exchange.Identity)
}

// credential returns what follows the scheme Basic, in any case; mine is false
// if the scheme is another one.
func credential(value []byte) (encoded []byte, mine bool) {
	scheme, rest, _ := bytes.Cut(value, []byte(" "))
	if !exchange.EqualFold(scheme, "basic") {
		return nil, false
	}
	return bytes.TrimLeft(rest, " "), true
}

// split reads user name and password (RFC 7617 section 2): strict base64 of
// UTF-8, cut at the first colon. why says what is wrong with them, "" if
// nothing is. The password comes back prepared.
func split(encoded []byte, alloc func(int) []byte) (user, secret []byte, why string) {
	if len(encoded) > maxCredential {
		return nil, nil, "user name and password are too long"
	}
	pair := alloc(base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := strict.Decode(pair, encoded)
	if err != nil {
		return nil, nil, "what follows Basic is not base64"
	}
	user, secret, found := bytes.Cut(pair[:n], []byte(":"))
	switch {
	case !found:
		return nil, nil, "there is no colon between user name and password"
	case len(user) == 0:
		return nil, nil, "the user name is empty"
	case len(user) > maxUser:
		return nil, nil, "the user name is too long"
	case !utf8.Valid(user) || bytes.ContainsFunc(user, control):
		return nil, nil, "the user name is not valid UTF-8, or holds a control character"
	}
	if secret, err = password.Prepare(secret); err != nil {
		return nil, nil, err.Error()
	}
	return user, secret, ""
}

// strict refuses every second spelling. Line ends, which it skips, cannot
// stand in a header field.
var strict = base64.StdEncoding.Strict()

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
