package jwt_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/policy/jwt"
)

// cookbook decides every file of the JOSE cookbook (RFC 7520, with RFC 8037
// and RFC 7797). A file that is not here fails the test.
var cookbook = map[string]struct {
	verifies bool   // its compact form
	why      string // if it does not
}{
	"jws/4_1.rsa_v15_signature.json":                 {true, ""},
	"jws/4_2.rsa-pss_signature.json":                 {true, ""},
	"jws/4_3.ecdsa_signature.json":                   {true, ""},
	"curve25519/jws.json":                            {true, ""},
	"jws/4_4.hmac-sha2_integrity_protection.json":    {false, "HS*: a shared secret is never taken from a key set"},
	"jws/4_5.signature_with_detached_content.json":   {false, "the payload is elsewhere; and HS*"},
	"jws/4_6.protecting_specific_header_fields.json": {false, "JSON serialisation: no bearer token"},
	"jws/4_7.protecting_content_only.json":           {false, "JSON serialisation: no bearer token"},
	"jws/4_8.multiple_signatures.json":               {false, "JSON serialisation: no bearer token"},
	"rfc7797/4.2.hmac-sha2_b64_false.json":           {false, "b64, and JSON serialisation"},
	"rfc7797/hmac-sha2_b64_false.json":               {false, "b64 and crit"},
	"6.nesting_signatures_and_encryption.json":       {false, "encrypted"},
	"curve25519/ecdh-es.json":                        {false, "encrypted"},
	"jwk/3_1.ec_public_key.json":                     {true, ""},
	"jwk/3_2.ec_private_key.json":                    {false, "private part is published"},
	"jwk/3_3.rsa_public_key.json":                    {true, ""},
	"jwk/3_4.rsa_private_key.json":                   {false, "private part is published"},
	"jwk/3_5.symmetric_key_mac_computation.json":     {false, "not one that verifies"},
	"jwk/3_6.symmetric_key_encryption.json":          {false, "use is not sig"},
}

func TestCookbook(t *testing.T) {
	t.Parallel()
	root := suites + "jose-cookbook"
	if _, err := os.Stat(root); err != nil {
		t.Skip("examples of others (github.com/ietf-jose/cookbook) are not here; to run them, put them at " + root)
	}
	ran := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		rule, ok := cookbook[name]
		if strings.HasPrefix(name, "jwe/") {
			rule.why, ok = "encrypted", true
		}
		if !ok {
			t.Errorf("%s: nothing is decided about it", name)
		}
		ran++
		if strings.HasPrefix(name, "jwk/") {
			list, left, err := keys.ParseSet([]byte(`{"keys":[` + string(data) + `]}`))
			if err != nil || (len(list) == 1) != rule.verifies || !strings.Contains(strings.Join(left, ""), rule.why) {
				t.Errorf("%s: %v, left out %v", name, err, left)
			}
			return nil
		}
		for form, token := range compact(t, data) {
			if got := verifies(published(t, data), token); got != (rule.verifies && form == "compact") {
				t.Errorf("%s, %s: verifies %v; %s", name, form, got, rule.why)
			}
			if rule.why == "encrypted" {
				if _, _, err := jwt.ParseHeader([]byte(token)); err == nil {
					t.Errorf("%s, %s: it has the form of a signed token", name, form)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files", ran)
}

// compact returns every form in which a vector could be presented as a token.
func compact(t *testing.T, data []byte) map[string]string {
	t.Helper()
	var v struct {
		Output  map[string]json.RawMessage
		Encrypt struct{ Output map[string]json.RawMessage }
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if v.Output == nil {
		v.Output = v.Encrypt.Output
	}
	forms := map[string]string{}
	for form, raw := range v.Output {
		text := string(raw)
		var s string
		if json.Unmarshal(raw, &s) == nil {
			text = s
		}
		forms[form] = text
	}
	if len(forms) == 0 {
		t.Error("a vector without output")
	}
	return forms
}

// published returns the vector's key as an issuer would publish it: without
// its private part.
func published(t *testing.T, data []byte) keys.Set {
	t.Helper()
	var v struct{ Input struct{ Key json.RawMessage } }
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	var jwk map[string]any
	if json.Unmarshal(v.Input.Key, &jwk) != nil { // none, or several
		return keys.NewStatic()
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		delete(jwk, private)
	}
	text, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := keys.ParseSet([]byte(`{"keys":[` + string(text) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return keys.NewStatic(list...)
}
