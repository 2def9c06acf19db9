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

// suites is where the vectors of others are: beside the folder of this
// repository's work tree, since they are large and not ours. wycheproof is the
// folder testvectors_v1 of github.com/C2SP/wycheproof, jose-cookbook is
// github.com/ietf-jose/cookbook.
const suites = "../../../../shared/suites/"

// roca says why keys made by a faulty chip are taken.
const roca = "CVE-2017-15361: whether an issuer's keys are good is not looked into beyond kind and size"

// vectors is a file of Wycheproof's on JOSE.
type vectors struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment         string
		Public, Private json.RawMessage
		Tests           []struct {
			TcID     int
			Comment  string
			JWS, JWE serialised
			Result   string
		}
	}
}

// serialised is a token, or the JSON form of one as its text.
type serialised string

// UnmarshalJSON implements json.Unmarshaler.
func (s *serialised) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, (*string)(s)) != nil {
		*s = serialised(raw)
	}
	return nil
}

func readVectors(t *testing.T, file string) (v vectors) {
	t.Helper()
	data, err := os.ReadFile(suites + "wycheproof/" + file)
	if err != nil {
		t.Skip("test vectors of others (testvectors_v1 of github.com/C2SP/wycheproof) are not here; to run them, put them at " + suites + "wycheproof/" + file)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// The payloads of these vectors are no JSON, so that form, key and signature
// are judged by the same parts that judge tokens, one by one. Where they call
// valid what we refuse, why says why: by what the key set says of the keys it
// left out, or by number. Where they call invalid what we accept, so does
// accepted.
func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file          string
		why, accepted map[string]string
	}{
		{"json_web_signature_test.json", map[string]string{
			"ES521": "not an algorithm: RFC 7518 calls it ES512",
			"oct":   "HS*: a shared secret is never taken from a key set",
			"#346":  "the key is published for PS256, the header says PS384",
			"#350":  "the key is published for PS256, the header says PS384",
		}, nil},
		{"json_web_crypto_test.json", map[string]string{"oct": "HS*: a shared secret is never taken from a key set"}, map[string]string{"#46": roca}},
		{"json_web_key_test.json", map[string]string{"oct": "HS*: a shared secret is never taken from a key set"}, map[string]string{
			"#7": roca,
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			suite := readVectors(t, c.file)
			ran, refused := 0, 0
			used := map[string]bool{}
			for _, g := range suite.TestGroups {
				set, left := vectorKeys(g.Public, g.Private)
				for _, v := range g.Tests {
					ran++
					if v.JWE != "" {
						if _, _, err := jwt.ParseHeader([]byte(v.JWE)); err == nil {
							t.Errorf("%d %s %s: encrypted, and it has the form of a signed token", v.TcID, g.Comment, v.Comment)
						}
						continue
					}
					ok := set != nil && verifies(set, string(v.JWS))
					number := "#" + strconv.Itoa(v.TcID)
					if (v.Result == "valid") == ok {
						continue
					}
					reasons := c.why
					if ok {
						reasons = c.accepted
					} else {
						refused++
					}
					why := ""
					for word, reason := range reasons {
						if word == number || !ok && !strings.HasPrefix(word, "#") && strings.Contains(left, word) {
							why, used[word] = reason, true
						}
					}
					if why == "" {
						t.Errorf("%d %s %s: %s, and verifies: %v; keys left out: %v", v.TcID, g.Comment, v.Comment, v.Result, ok, left)
					}
				}
			}
			if ran != suite.NumberOfTests {
				t.Errorf("ran %d of %d", ran, suite.NumberOfTests)
			}
			if len(used) != len(c.why)+len(c.accepted) {
				t.Errorf("reasons that nothing needs: of %v and %v only %v", c.why, c.accepted, used)
			}
			t.Logf("%d vectors, %d valid ones refused on purpose", ran, refused)
		})
	}
}

// Encrypted tokens are none of ours: whatever they are, their form refuses.
func TestWycheproofEncryption(t *testing.T) {
	t.Parallel()
	suite := readVectors(t, "json_web_encryption_test.json")
	ran := 0
	for _, g := range suite.TestGroups {
		for _, v := range g.Tests {
			ran++
			if _, _, err := jwt.ParseHeader([]byte(v.JWE)); err == nil {
				t.Errorf("%d %s %s: it has the form of a signed token", v.TcID, g.Comment, v.Comment)
			}
		}
	}
	if ran != suite.NumberOfTests {
		t.Errorf("ran %d of %d", ran, suite.NumberOfTests)
	}
}

// vectorKeys reads a key or a set as if an issuer had published it; nil if it
// is refused whole, with the reason.
func vectorKeys(public, private json.RawMessage) (set keys.Set, left string) {
	jwk := public
	if jwk == nil {
		jwk = private
	}
	var whole struct{ Keys json.RawMessage }
	if json.Unmarshal(jwk, &whole) != nil || whole.Keys == nil {
		jwk = json.RawMessage(`{"keys":[` + string(jwk) + `]}`)
	}
	list, out, err := keys.ParseSet(jwk)
	if err != nil {
		return nil, err.Error()
	}
	return keys.NewStatic(list...), strings.Join(out, "; ")
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
