package jwt_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	golangjwt "github.com/golang-jwt/jwt/v5"

	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/policy/jwt"
)

// Where we say no to vectors that are called valid, by what the key set says
// of their key or by their number.
var stricter = map[string]string{
	"ES521": "not an algorithm: RFC 7518 calls it ES512",
	"oct":   "HS*: a shared secret is never taken from a key set",
	"#346":  "the key is published for PS256, the header says PS384",
	"#350":  "the key is published for PS256, the header says PS384",
}

// The payloads of these vectors are no JSON, so that form, key and signature
// are judged by the same parts that judge tokens, one by one.
func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	const file = "../../../../shared/suites/wycheproof/json_web_signature_test.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Skip("Wycheproof's vectors are not here; put them at " + file)
	}
	var suite struct {
		NumberOfTests int
		TestGroups    []struct {
			Comment         string
			Public, Private json.RawMessage
			Tests           []struct {
				TcID         int
				Comment, JWS string
				Result       string
			}
		}
	}
	if err := json.Unmarshal(data, &suite); err != nil {
		t.Fatal(err)
	}
	ran, refused := 0, 0
	for _, g := range suite.TestGroups {
		jwk := g.Public
		if jwk == nil {
			jwk = g.Private
		}
		list, left, err := keys.ParseSet([]byte(`{"keys":[` + string(jwk) + `]}`))
		if err != nil {
			t.Fatalf("%s: %v", g.Comment, err)
		}
		set := keys.NewStatic(list...)
		for _, c := range g.Tests {
			ran++
			ok := verifies(set, c.JWS)
			switch {
			case c.Result == "invalid" && ok:
				t.Errorf("%d %s %s: accepted", c.TcID, g.Comment, c.Comment)
			case c.Result == "valid" && !ok:
				why := ""
				for word, reason := range stricter {
					if strings.Contains(strings.Join(left, " ")+" #"+strconv.Itoa(c.TcID), word) {
						why = reason
					}
				}
				if refused++; why == "" {
					t.Errorf("%d %s %s: refused; keys left out: %v", c.TcID, g.Comment, c.Comment, left)
				}
			}
		}
	}
	if ran != suite.NumberOfTests {
		t.Errorf("ran %d of %d", ran, suite.NumberOfTests)
	}
	t.Logf("%d vectors, %d valid ones refused on purpose", ran, refused)
}

func verifies(set keys.Set, jws string) bool {
	alg, kid, err := jwt.ParseHeader([]byte(jws))
	if err != nil || !keys.Supported(alg) {
		return false
	}
	key, err := set.Find(context.Background(), kid, alg, false)
	if err != nil {
		return false
	}
	end := strings.LastIndexByte(jws, '.')
	sig, err := base64.RawURLEncoding.Strict().DecodeString(jws[end+1:])
	return err == nil && key.SaltFits(alg, jws[:end], sig) && golangjwt.GetSigningMethod(alg).Verify(jws[:end], sig, key.Public) == nil
}
