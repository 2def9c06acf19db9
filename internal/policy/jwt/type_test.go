package jwt_test

import (
	"testing"

	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Rules 4 to 7: an access token is told from the others.
func TestTokenType(t *testing.T) {
	t.Parallel()
	// bare has nothing that marks an access token.
	bare := func(change claims) claims {
		c := access(claims{"scope": gone, "client_id": gone})
		for k, v := range change {
			c[k] = v
		}
		return c
	}
	at := claims{"typ": "at+jwt"}
	cases := []tokenCase{
		// 4: typ of the header
		{"no typ", sign(t, access(), claims{"typ": gone}), fault.None},
		{"typ at+jwt", sign(t, bare(nil), at), fault.None},
		{"typ application/at+jwt in capitals", sign(t, bare(nil), claims{"typ": "Application/AT+JWT"}), fault.None},
		{"typ application/jwt", sign(t, access(), claims{"typ": "application/jwt"}), fault.None},
		{"typ logout+jwt", sign(t, access(), claims{"typ": "logout+jwt"}), fault.TokenTypeWrong},
		{"typ dpop+jwt", sign(t, access(), claims{"typ": "dpop+jwt"}), fault.TokenTypeWrong},
		{"typ secevent+jwt", sign(t, access(), claims{"typ": "secevent+jwt"}), fault.TokenTypeWrong},
		{"an empty typ", sign(t, access(), claims{"typ": ""}), fault.TokenTypeWrong},
		// 5: marks of other tokens
		{"payload typ Bearer", sign(t, bare(claims{"typ": "Bearer"})), fault.None},
		{"payload typ DPoP", sign(t, bare(claims{"typ": "DPoP"})), fault.None},
		{"payload typ ID", sign(t, access(claims{"typ": "ID"})), fault.TokenTypeWrong},
		{"payload typ Refresh", sign(t, access(claims{"typ": "Refresh"})), fault.TokenTypeWrong},
		{"payload typ null", sign(t, access(claims{"typ": nil})), fault.TokenTypeWrong},
		{"token_use id", sign(t, access(claims{"token_use": "id"})), fault.TokenTypeWrong},
		{"token_use in a list", sign(t, access(claims{"token_use": []string{"access"}})), fault.TokenTypeWrong},
		{"at_hash", sign(t, access(claims{"at_hash": "x"})), fault.TokenTypeWrong},
		{"at_hash null", sign(t, access(claims{"at_hash": nil})), fault.TokenTypeWrong},
		{"c_hash", sign(t, access(claims{"c_hash": "x"})), fault.TokenTypeWrong},
		{"s_hash", sign(t, access(claims{"s_hash": "x"})), fault.TokenTypeWrong},
		{"events", sign(t, access(claims{"events": claims{}})), fault.TokenTypeWrong},
		{"nonce", sign(t, access(claims{"nonce": "x"})), fault.TokenTypeWrong},
		{"nonce of an access token", sign(t, access(claims{"nonce": "x", "typ": "Bearer"})), fault.None},
		{"at+jwt with nonce", sign(t, access(claims{"nonce": "x"}), at), fault.TokenTypeWrong},
		{"at+jwt with token_use id", sign(t, access(claims{"token_use": "id"}), at), fault.TokenTypeWrong},
		// 6: something marks an access token
		{"no mark", sign(t, bare(nil)), fault.TokenTypeWrong},
		{"roles are no mark", sign(t, bare(claims{"roles": []string{"r"}, "groups": []string{"g"}})), fault.TokenTypeWrong},
		{"token_use access", sign(t, bare(claims{"token_use": "access"})), fault.None},
		{"scp", sign(t, bare(claims{"scp": []string{"x"}})), fault.None},
		{"scope null", sign(t, bare(claims{"scope": nil})), fault.TokenTypeWrong},
		{"cid", sign(t, bare(claims{"cid": "c"})), fault.None},
		{"appid", sign(t, bare(claims{"appid": "c"})), fault.None},
		{"appidacr", sign(t, bare(claims{"appidacr": "1"})), fault.None},
		{"azpacr", sign(t, bare(claims{"azpacr": "1"})), fault.None},
		{"gty", sign(t, bare(claims{"gty": "client-credentials"})), fault.None},
		{"azp that is not in aud", sign(t, bare(claims{"azp": "c"})), fault.None},
		{"azp that is in aud", sign(t, bare(claims{"azp": "orders-api"})), fault.TokenTypeWrong},
		{"azp that is in aud beside others", sign(t, bare(claims{"azp": "orders-api", "aud": []string{"orders-api", "x"}})), fault.TokenTypeWrong},
		// 7: aud is only the client itself
		{"there is no aud, and client_id alone marks it", sign(t, bare(claims{"client_id": "c", "aud": gone})), fault.TokenAudienceWrong},
		{"aud is the client, and client_id alone marks it", sign(t, bare(claims{"client_id": "orders-api"})), fault.TokenTypeWrong},
		{"aud is the client, gty alone", sign(t, bare(claims{"azp": "orders-api", "gty": "x"})), fault.TokenTypeWrong},
		{"aud is the client, with scope", sign(t, bare(claims{"client_id": "orders-api", "scope": "x"})), fault.None},
		{"aud is the client, with azpacr", sign(t, bare(claims{"azp": "orders-api", "azpacr": "1"})), fault.None},
		{"aud is the client and more", sign(t, bare(claims{"client_id": "c", "aud": []string{"c", "orders-api"}})), fault.None},
	}
	runTokens(t, build(t, nil, issuer()), cases)
	runTokens(t, build(t, nil, issuer(func(i *pipeline.Issuer) { i.TokenType = "" })), cases) // the zero value is as strict

	t.Run("at+jwt", func(t *testing.T) {
		runTokens(t, build(t, nil, issuer(func(i *pipeline.Issuer) { i.TokenType = "at+jwt" })), []tokenCase{
			{"the header says it", sign(t, bare(nil), at), fault.None},
			{"it is enough, whatever the payload is like", sign(t, bare(claims{"nonce": "x", "at_hash": "x", "typ": "ID"}), at), fault.None},
			{"with its media type", sign(t, bare(nil), claims{"typ": "application/at+jwt"}), fault.None},
			{"JWT", sign(t, access()), fault.TokenTypeWrong},
			{"none", sign(t, access(), claims{"typ": gone}), fault.TokenTypeWrong},
		})
	})
	t.Run("any", func(t *testing.T) {
		runTokens(t, build(t, nil, issuer(func(i *pipeline.Issuer) { i.TokenType = "any" })), []tokenCase{
			{"an ID token", sign(t, bare(claims{"nonce": "x", "at_hash": "x"})), fault.None},
			{"any typ", sign(t, bare(nil), claims{"typ": "whatever"}), fault.None},
			{"audience counts", sign(t, bare(claims{"aud": "x"})), fault.TokenAudienceWrong},
			{"binding counts", sign(t, bare(claims{"cnf": claims{}})), fault.TokenBindingFailed},
		})
	})
}
