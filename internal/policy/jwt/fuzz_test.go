package jwt_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/policy/jwt"
)

// Whatever is presented, only the tokens that were signed pass, and every
// well-formed token has one spelling.
func FuzzToken(f *testing.F) {
	parts := build(f, nil, issuer())
	good := sign(f, access())
	for _, seed := range []string{good, good + "=", "..", "a.b.c", "", strings.Replace(good, ".", "..", 1), good[:len(good)-1], "e30.e30.", b64(`{"alg":"none"}`) + "." + b64(`{}`) + "."} {
		f.Add("Bearer " + seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		x := request(field)
		_, v := parts.Authenticate.Authenticate(x, world)
		how, token, _ := strings.Cut(field, " ")
		token = strings.TrimLeft(token, " ")
		if v.Passed() && (!strings.EqualFold(how, "bearer") || token != good) {
			t.Errorf("%q passed", field)
		}
		if !v.Passed() && v.Code() == fault.InternalError && v.Code().Status() != 500 {
			t.Errorf("%q: no code", field)
		}
		if _, _, err := jwt.Parse([]byte(token)); err == nil {
			for i, part := range strings.Split(token, ".") {
				b, err := base64.RawURLEncoding.DecodeString(part)
				if err != nil || base64.RawURLEncoding.EncodeToString(b) != part {
					t.Errorf("part %d of %q has another spelling", i, token)
				}
				if i < 2 && !json.Valid(b) {
					t.Errorf("part %d of %q is not JSON", i, token)
				}
			}
		}
	})
}
