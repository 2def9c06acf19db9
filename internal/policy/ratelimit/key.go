package ratelimit

import (
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/guessing"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// What a value in a key is. The place of the value in the limit's list is
// added, so that a value that is absent is not taken for the next one.
const (
	tagRoute byte = iota + 1
	tagAddress
	tagNamed
	tagIssuer
	tagClient
	tagSubject
	tagConsumer
	tagClaim
	tagHeader
	tagIssuerClient  // both in one value
	tagIssuerSubject // both in one value

	tags = 16 // below this a place begins; a limit has at most 4 places
)

// limits are the limits of one phase.
type limits []limit

type limit struct {
	base  counters.Charge
	label string
	per   []pipeline.Per // what is only known of a request
}

// Limit implements pipeline.Limiter.
func (l limits) Limit(x *exchange.Exchange, c *pipeline.Charges) {
	for i := range l {
		charge := l[i].base
		for place := range l[i].per {
			charge.Key = extend(charge.Key, byte(place)*tags, &l[i].per[place], x)
		}
		c.Add(charge, l[i].label)
	}
}

// extend adds what the request has for p to the key. What it has not is left
// out, so that all such requests share a bucket. It allocates nothing.
func extend(k counters.Key, place byte, p *pipeline.Per, x *exchange.Exchange) counters.Key {
	id := x.Identity
	switch p.Kind {
	case pipeline.PerIP:
		return k.WithNetwork(place+tagAddress, guessing.Network(x.Client))
	case pipeline.PerHeader:
		if value, n := x.Req.GetName(p.Name); n > 0 {
			return k.With(place+tagHeader, value)
		}
		return k
	}
	if id == nil {
		return k
	}
	switch p.Kind {
	case pipeline.PerConsumer:
		return consumer(k, place, id)
	case pipeline.PerSubject:
		if id.Subject != "" {
			// Two issuers may well know an alice each.
			return subject(k, place, id)
		}
		return consumer(k, place, id)
	case pipeline.PerClaim:
		if text, ok := id.Claims.Scalar(p.Name); ok {
			return k.With(place+tagClaim, []byte(text))
		}
	}
	return k
}

// consumer adds who calls. A named consumer is told from one that a token
// claims by the tag: names never match claims.
func consumer(k counters.Key, place byte, id *exchange.Identity) counters.Key {
	switch {
	case id.Named != nil:
		return k.With(place+tagNamed, []byte(id.Named.Name))
	case id.Client != "":
		if next, ok := both(k, place+tagIssuerClient, id.Issuer, id.Client); ok {
			return next
		}
		return k.With(place+tagIssuer, []byte(id.Issuer)).With(place+tagClient, []byte(id.Client))
	case id.Subject != "":
		return subject(k, place, id)
	case id.Consumer != "":
		return k.With(place+tagConsumer, []byte(id.Consumer))
	}
	return k
}

func subject(k counters.Key, place byte, id *exchange.Identity) counters.Key {
	if next, ok := both(k, place+tagIssuerSubject, id.Issuer, id.Subject); ok {
		return next
	}
	return k.With(place+tagIssuer, []byte(id.Issuer)).With(place+tagSubject, []byte(id.Subject))
}

// both adds an issuer and a name it gave as one value, the issuer after its
// length, so that they are hashed once; ok is false if they are too long.
func both(k counters.Key, tag byte, issuer, name string) (next counters.Key, ok bool) {
	var room [96]byte
	if len(issuer)+len(name) >= len(room) {
		return k, false
	}
	value := append(room[:0], byte(len(issuer)))
	return k.With(tag, append(append(value, issuer...), name...)), true
}

// headers are the fields that limits count by.
type headers []string

// Authorize implements pipeline.Authorizer: a field that is read as one value
// and comes twice could mean either, and refuses.
func (h headers) Authorize(x *exchange.Exchange, _ *pipeline.World) pipeline.Verdict {
	for _, name := range h {
		if _, n := x.Req.GetName(name); n > 1 {
			x.Trail.Saw("name", name)
			return pipeline.Refuse(fault.ParameterAmbiguous)
		}
	}
	return pipeline.Pass
}
