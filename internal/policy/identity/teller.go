package identity

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/template"
)

// teller is the compiled policy. The zero teller tells nothing.
type teller struct {
	fields    []field
	jwt       *asserter // nil: no assertion
	names     string    // of all fields
	authority pipeline.Assertions
	scratch   sync.Pool // of *[]byte
}

type field struct {
	name  string
	value *template.Template
}

var (
	errRoom  = errors.New("with it all values together are over 8 KiB")
	errRetry = errors.New("the assertion cannot be signed now")
)

// Transform implements pipeline.Transformer.
func (t *teller) Transform(x *exchange.Exchange, w *pipeline.World) pipeline.Verdict {
	scratch, _ := t.scratch.Get().(*[]byte)
	if scratch == nil {
		b := make([]byte, 0, 1<<10)
		scratch = &b
	}
	name, missing, err := t.tell(x, w.Now, scratch)
	if cap(*scratch) <= keepScratch {
		t.scratch.Put(scratch)
	}
	switch {
	case err == nil && missing == 0:
		x.Trail.Saw("set", t.names)
		return pipeline.Pass
	case err == nil:
		x.Trail.SawNumber("set", int64(len(t.fields)-missing)+t.asserted())
		return pipeline.Pass
	case errors.Is(err, errRetry):
		x.Trail.Saw("header", name)
		x.Trail.Saw("because", err.Error())
		x.RetryAfter = time.Second
		return pipeline.Refuse(fault.IdentityUnavailable)
	}
	x.Trail.Saw("header", name)
	x.Trail.Saw("because", err.Error())
	return pipeline.Refuse(fault.TransformFailed)
}

func (t *teller) asserted() int64 {
	if t.jwt != nil {
		return 1
	}
	return 0
}

// tell sets the fields. It returns the field that cannot be set, or how many
// there was nothing to say in.
func (t *teller) tell(x *exchange.Exchange, now time.Time, scratch *[]byte) (name string, missing int, err error) {
	room := maxAll
	for i := range t.fields {
		f := &t.fields[i]
		b, err := f.value.Append((*scratch)[:0], x, room)
		*scratch = b
		if err == template.ErrNothing {
			if missing++; missing <= 2 {
				x.Trail.Saw("without", f.name)
			}
			continue
		}
		if err != nil {
			return f.name, 0, err
		}
		room -= len(b)
		value := x.Alloc(len(b))
		copy(value, b)
		x.ReqEdit.Set(f.name, value)
	}
	if t.jwt == nil {
		return "", missing, nil
	}
	b, err := t.jwt.content((*scratch)[:0], x.Identity)
	*scratch = b
	if err != nil {
		return t.jwt.header, 0, err
	}
	if t.authority == nil {
		return t.jwt.header, 0, errRetry
	}
	token, err := t.authority.Sign(x, b, ends(x.Identity, now), now)
	switch {
	case err != nil:
		return t.jwt.header, 0, fmt.Errorf("%w: %w", errRetry, err)
	case len(token) > room:
		return t.jwt.header, 0, errRoom
	}
	x.ReqEdit.Set(t.jwt.header, token)
	return "", missing, nil
}

// inSkew is how long an assertion lives for a token that is over, but let in
// by its issuer's clock skew: long enough to be read.
const inSkew = 5 * time.Second

// ends returns when an identity ends, zero: never. One of several proofs ends
// with the first of their sessions; their Expires is in its own already.
func ends(id *exchange.Identity, now time.Time) time.Time {
	until := id.Expires
	if !until.IsZero() && !until.After(now) {
		until = now.Add(inSkew)
	}
	sooner := func(s exchange.Session) {
		if s == nil {
			return
		}
		end := s.Ends()
		if end.IsZero() { // it was ended while this request was judged
			end = time.Unix(0, 0)
		}
		if until.IsZero() || end.Before(until) {
			until = end
		}
	}
	sooner(id.Session)
	for _, one := range id.Proofs {
		sooner(one.Session)
	}
	return until
}
