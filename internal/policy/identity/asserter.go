package identity

import (
	"errors"

	"github.com/warder-gateway/warder/internal/assertion"
	"github.com/warder-gateway/warder/internal/exchange"
)

// asserter says in JSON who a request was proved to come from.
type asserter struct {
	header   string
	audience []byte // the first member, as JSON
	claims   []passed
}

// passed is a claim that is passed on.
type passed struct {
	path string
	name []byte // as JSON, with its colon
}

var errContent = errors.New("the assertion would say more than 4 KiB; pass fewer claims on")

// content appends the members of an assertion. What is not known is left out;
// a credential is never among what is said.
func (a *asserter) content(b []byte, id *exchange.Identity) ([]byte, error) {
	b = append(b, a.audience...)
	b = member(b, `,"sub":`, id.Subject)
	b = member(b, `,"method":`, id.Method)
	b = member(b, `,"issuer":`, id.Issuer)
	b = member(b, `,"client":`, id.Client)
	b = member(b, `,"consumer":`, id.Consumer)
	b = list(b, `,"scopes":[`, id.Scopes)
	b = list(b, `,"roles":[`, id.Roles)
	before := len(b)
	for i := range a.claims {
		raw, ok := id.Claims.Lookup(a.claims[i].path)
		if !ok {
			continue
		}
		if len(b) == before {
			b = append(b, `,"claims":{`...)
		} else {
			b = append(b, ',')
		}
		b = raw.AppendASCII(append(b, a.claims[i].name...))
		if len(b) > assertion.MaxContent {
			return b, errContent
		}
	}
	if len(b) > before {
		b = append(b, '}')
	}
	if len(b) > assertion.MaxContent {
		return b, errContent
	}
	return b, nil
}

func member(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return exchange.AppendJSON(append(b, name...), text)
}

func list(b []byte, name string, texts []string) []byte {
	if len(texts) == 0 {
		return b
	}
	b = append(b, name...)
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = exchange.AppendJSON(b, text)
	}
	return append(b, ']')
}
