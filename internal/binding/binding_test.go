package binding_test

import (
	"crypto"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

func TestAProofOfTheTokensKeyIsAccepted(t *testing.T) {
	t.Parallel()
	m := material()
	for _, c := range []struct {
		alg     string
		private crypto.Signer
	}{{"ES256", m.ec}, {"EdDSA", m.ed}, {"RS256", m.rsa}, {"PS256", m.rsa}} {
		x := request(maker{alg: c.alg, private: c.private}.make(t))
		if code, reason := bound(c.private).Check(x, binding.ToKey, presented()); code != fault.None {
			t.Errorf("%s: %v, %s", c.alg, code, reason)
		}
	}
}

// Each rule on proofs, by a proof that keeps all others.
func TestAProofThatBreaksARuleIsRefused(t *testing.T) {
	t.Parallel()
	m := material()
	private := jwkOf(m.ec.Public())
	private["d"] = "AAAA"
	symmetric := members{"kty": "oct", "k": "AAAA"}
	with := func(name string, v any) string { return maker{payload: members{name: v}}.make(t) }
	head := func(name string, v any) string { return maker{header: members{name: v}}.make(t) }
	good := maker{}.make(t)
	parts := strings.Split(good, ".")
	for name, c := range map[string]struct {
		proofs []string
		want   string
	}{
		"no field":             {nil, "there is no DPoP field"},
		"two fields":           {[]string{good, good}, "more than one"},
		"longer than 4 KiB":    {[]string{with("more", strings.Repeat("x", 4096))}, "longer than 4 KiB"},
		"two parts":            {[]string{parts[0] + "." + parts[1]}, "three parts"},
		"four parts":           {[]string{good + ".x"}, "three parts"},
		"padding":              {[]string{good + "="}, "not base64url"},
		"line feed":            {[]string{good + "\n"}, "not base64url"},
		"header no base64url":  {[]string{"*" + good[1:]}, "header is not base64url"},
		"payload no base64url": {[]string{parts[0] + ".*" + parts[1][1:] + "." + parts[2]}, "payload is not base64url"},
		"header no JSON":       {[]string{"e30x." + parts[1] + "." + parts[2]}, "header"},
		"duplicate member":     {[]string{maker{}.sign(t, `{"typ":"dpop+jwt"}`, `{"jti":"a","jti":"a"}`)}, "names a member twice"},
		"crit":                 {[]string{head("crit", []string{"x"})}, "crit"},
		"b64":                  {[]string{head("b64", true)}, "b64"},
		"no typ":               {[]string{head("typ", gone)}, "typ is not there"},
		"typ of a token":       {[]string{head("typ", "at+jwt")}, "typ"},
		"typ in capitals":      {[]string{head("typ", "DPoP+JWT")}, "typ"},
		"alg none":             {[]string{head("alg", "none")}, "alg is not one of"},
		"alg symmetric":        {[]string{head("alg", "HS256")}, "alg is not one of"},
		"alg not listed":       {[]string{maker{alg: "ES384", private: m.ec384}.make(t)}, "alg is not one of"},
		"alg of another key":   {[]string{head("alg", "RS256")}, "not a key for its alg"},
		"no alg":               {[]string{head("alg", gone)}, "alg"},
		"no jwk":               {[]string{head("jwk", gone)}, "no jwk"},
		"jwk is a text":        {[]string{head("jwk", "x")}, "jwk is not a JSON object"},
		"jwk is private":       {[]string{head("jwk", private)}, "private part"},
		"jwk is symmetric":     {[]string{head("jwk", symmetric)}, "private part"},
		"jwk of another":       {[]string{maker{alg: "ES256", private: m.other}.make(t)}, "another key than the token's"},
		"signed by another":    {[]string{maker{alg: "ES256", private: m.other, header: members{"jwk": jwkOf(m.ec.Public())}}.make(t)}, "signature"},
		"no jti":               {[]string{with("jti", gone)}, "jti"},
		"jti empty":            {[]string{with("jti", "")}, "jti"},
		"jti a number":         {[]string{with("jti", 7)}, "jti"},
		"jti of 129 bytes":     {[]string{with("jti", strings.Repeat("j", 129))}, "longer than 128"},
		"no htm":               {[]string{with("htm", gone)}, "htm"},
		"another method":       {[]string{with("htm", "POST")}, "method"},
		"method in small":      {[]string{with("htm", "get")}, "method"},
		"no htu":               {[]string{with("htu", gone)}, "htu"},
		"another path":         {[]string{with("htu", "https://api.example.com/orders/2")}, "URI"},
		"another host":         {[]string{with("htu", "https://api.example.org/orders/1")}, "URI"},
		"another scheme":       {[]string{with("htu", "http://api.example.com/orders/1")}, "URI"},
		"another port":         {[]string{with("htu", "https://api.example.com:8443/orders/1")}, "URI"},
		"no ath":               {[]string{with("ath", gone)}, "ath"},
		"another token":        {[]string{with("ath", strings.Repeat("A", 43))}, "another token"},
		"ath of another hash":  {[]string{with("ath", "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo")}, "another token"},
		"no iat":               {[]string{with("iat", gone)}, "no iat"},
		"iat a text":           {[]string{with("iat", "1")}, "iat is not an integer"},
		"iat a fraction":       {[]string{with("iat", 1.5)}, "iat is not an integer"},
		"iat beyond 2^53":      {[]string{with("iat", uint64(1)<<53+1)}, "iat is not an integer"},
		"nonce is no text":     {[]string{with("nonce", 1)}, "nonce is not a string"},
	} {
		x := request(c.proofs...)
		code, reason := judge(x)
		if code != fault.DPoPProofInvalid || !strings.Contains(reason, c.want) {
			t.Errorf("%s: %v, %q, want %q", name, code, reason, c.want)
		}
	}
}

func TestIatIsWithinAMinuteOrANonceIsAskedFor(t *testing.T) {
	t.Parallel()
	for off, want := range map[int64]fault.Code{
		0: fault.None, -60: fault.None, 60: fault.None, -61: fault.DPoPNonceRequired, 61: fault.DPoPNonceRequired,
		-1 << 30: fault.DPoPNonceRequired, 1 << 40: fault.DPoPNonceRequired,
	} {
		x := request(maker{payload: members{"iat": now.Unix() + off}}.make(t))
		code, reason := judge(x)
		if code != want {
			t.Errorf("%d s: %v, %s", off, code, reason)
		}
		nonce := field(x, "DPoP-Nonce")
		if (nonce != "") != (want == fault.DPoPNonceRequired) {
			t.Errorf("%d s: DPoP-Nonce %q", off, nonce)
		}
		if nonce == "" {
			continue
		}
		again := request(maker{payload: members{"iat": now.Unix() + off, "nonce": nonce}}.make(t))
		if code, reason := judge(again); code != fault.None {
			t.Errorf("%d s with the nonce: %v, %s", off, code, reason)
		}
	}
}

// What an operator reads of a time that is wrong.
func TestAWrongTimeIsSaid(t *testing.T) {
	t.Parallel()
	for off, want := range map[int64]string{
		-61: "1m1s ago", 61: "1m1s ahead of our clock", -365 * 24 * 3600: "8760h0m0s ago", 365 * 24 * 3600: "8760h0m0s ahead of our clock",
		-365*24*3600 - 1: "more than a year ago", 365*24*3600 + 1: "more than a year ahead of our clock",
	} {
		if _, reason := judge(request(maker{payload: members{"iat": now.Unix() + off}}.make(t))); !strings.Contains(reason, "(iat) "+want+",") {
			t.Errorf("%d s: %s, want %s", off, reason, want)
		}
	}
}

// An operator sees which URI was wanted and which the proof is for, and no
// secret that may stand in it.
func TestTheURIOfAProofIsShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	for htu, want := range map[string]string{
		"https://api.example.com/orders/2":                     "https://api.example.com/orders/2",
		"https://api.example.com/orders/2?key=hunter2#hunter2": "https://api.example.com/orders/2",
		"https://api.example.com/orders/2#hunter2":             "https://api.example.com/orders/2",
		"https://me:hunter2@api.example.com/orders/2":          "…@api.example.com/orders/2",
	} {
		x := request(maker{payload: members{"htu": htu}}.make(t))
		judge(x)
		steps := x.Trail.Steps()
		seen := map[string]string{}
		for _, o := range steps[len(steps)-1].Operands() {
			seen[o.Name] = o.String()
		}
		if seen["have"] != want || seen["want"] != "https://api.example.com/orders/1" {
			t.Errorf("%s: %v", htu, seen)
		}
	}
}

func TestANonceHoldsForTwoGenerationsAndIsReplaced(t *testing.T) {
	t.Parallel()
	x := request(maker{payload: members{"iat": 1}}.make(t))
	judge(x)
	nonce := field(x, "DPoP-Nonce")
	proof := maker{payload: members{"iat": 1, "nonce": nonce}}.make(t)
	for _, c := range []struct {
		after time.Duration
		want  fault.Code
		fresh bool
	}{{0, fault.None, false}, {29 * time.Second, fault.None, false}, {30 * time.Second, fault.None, true}, {89 * time.Second, fault.None, true}, {90 * time.Second, fault.DPoPNonceRequired, true}, {-31 * time.Second, fault.DPoPNonceRequired, true}} {
		x := request(proof)
		code, reason := judge(x, func(p *binding.Presented) { p.Now = now.Add(c.after) })
		if code != c.want {
			t.Errorf("after %v: %v, %s", c.after, code, reason)
		}
		if got := field(x, "DPoP-Nonce"); (got != "") != c.fresh || got == nonce {
			t.Errorf("after %v: DPoP-Nonce %q", c.after, got)
		}
	}
	for name, bad := range map[string]string{"empty": "", "cut": nonce[:21], "of others": "AAAAAAAAAAAAAAAAAAAAAA"} {
		if code, _ := judge(request(maker{payload: members{"nonce": bad}}.make(t))); code != fault.DPoPNonceRequired {
			t.Errorf("%s: %v", name, code)
		}
	}
	if code, _ := judge(request(proof), func(p *binding.Presented) { p.Nonces = nil }); code != fault.DPoPProofInvalid {
		t.Errorf("without nonces: %v", code)
	}
}

func TestAProofIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	p := presented()
	c := bound(material().ec)
	proof := maker{}.make(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	codes := map[fault.Code]int{}
	for range 16 {
		group.Go(func() {
			code, _ := c.Check(request(proof), binding.AsIssued, p)
			mu.Lock()
			codes[code]++
			mu.Unlock()
		})
	}
	group.Wait()
	if codes[fault.None] != 1 || codes[fault.DPoPReplayed] != 15 {
		t.Error(codes)
	}
	if code, _ := c.Check(request(maker{payload: members{"jti": "another"}}.make(t)), binding.AsIssued, p); code != fault.None {
		t.Errorf("another jti: %v", code)
	}
	// Signed anew, it is the same proof.
	if code, _ := c.Check(request(maker{}.make(t)), binding.AsIssued, p); code != fault.DPoPReplayed {
		t.Errorf("the same jti signed anew: %v", code)
	}
	ed := material().ed
	if code, _ := bound(ed).Check(request(maker{alg: "EdDSA", private: ed}.make(t)), binding.AsIssued, p); code != fault.None {
		t.Errorf("the same jti of another key: %v", code)
	}
}

// ledger notes what is asked to be remembered.
type ledger struct {
	keep  []time.Duration
	first bool
	err   error
}

func (l *ledger) Once(_ time.Time, _ counters.Key, keep time.Duration) (bool, error) {
	l.keep = append(l.keep, keep)
	return l.first, l.err
}

func TestAProofIsRememberedForAsLongAsItHolds(t *testing.T) {
	t.Parallel()
	for off, want := range map[int64]time.Duration{-60: 15 * time.Second, 0: 75 * time.Second, 60: 135 * time.Second} {
		l := &ledger{first: true}
		x := request(maker{payload: members{"iat": now.Unix() + off}}.make(t))
		if code, reason := judge(x, func(p *binding.Presented) { p.Replays = l }); code != fault.None || len(l.keep) != 1 || l.keep[0] != want {
			t.Errorf("%d s: %v %s, kept %v", off, code, reason, l.keep)
		}
	}
}

func TestOnlyAProofThatHoldsIsUsedUp(t *testing.T) {
	t.Parallel()
	for _, payload := range []members{{"htm": "POST"}, {"iat": 1}, {"ath": "x"}, {"htu": "https://x/"}, {"nonce": "x"}} {
		l := &ledger{first: true}
		judge(request(maker{payload: payload}.make(t)), func(p *binding.Presented) { p.Replays = l })
		if len(l.keep) != 0 {
			t.Errorf("%v was remembered", payload)
		}
	}
	l := &ledger{first: true}
	forged := maker{alg: "ES256", private: material().other, header: members{"jwk": jwkOf(material().ec.Public())}}.make(t)
	judge(request(forged), func(p *binding.Presented) { p.Replays = l })
	judge(request(maker{}.make(t)), func(p *binding.Presented) { p.Replays, p.Look = l, true })
	if len(l.keep) != 0 {
		t.Error("a forged proof, or one that is only explained, was remembered")
	}
}

func TestWithoutCountersNobodyPasses(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]binding.Replays{
		"none": nil, "gone": &ledger{first: true, err: counters.ErrUnavailable}, "full": &ledger{first: true, err: counters.ErrFull}, "broken": &ledger{err: errors.New("x")},
	} {
		x := request(maker{}.make(t))
		if code, _ := judge(x, func(p *binding.Presented) { p.Replays = r }); code != fault.IdentityUnavailable || x.RetryAfter == 0 {
			t.Errorf("%s: %v, retry %v", name, code, x.RetryAfter)
		}
	}
}

func TestABindingThatIsNotUnderstoodCannotBeProved(t *testing.T) {
	t.Parallel()
	jkt := `"jkt":"` + thumbprint(jwkOf(material().ec.Public())) + `"`
	for _, cnf := range []string{
		``, `null`, `"x"`, `[]`, `{}`, `{"jkt":1}`, `{"jkt":""}`, `{"jkt":"x"}`, `{"x5t#S256":"x"}`, `{"JKT":"x"}`, `{"jwk":{}}`,
		`{` + jkt + `,"jwk":{}}`, `{` + jkt + `,` + jkt + `}`, `{` + jkt + `,"x5t#S256":"x"}`, strings.Replace(`{`+jkt+`}`, `"}`, `="}`, 1),
	} {
		for _, dpop := range []bool{true, false} {
			p := presented()
			p.DPoP = dpop
			if code, _ := binding.Parse(exchange.JSON(cnf)).Check(request(maker{}.make(t)), binding.AsIssued, p); code != fault.TokenBindingFailed {
				t.Errorf("%s: %v", cnf, code)
			}
		}
	}
}

func TestTheSchemeFitsTheBindingAndTheRule(t *testing.T) {
	t.Parallel()
	key := bound(material().ec)
	cert := binding.Parse(`{"x5t#S256":"` + exchange.JSON(strings.Repeat("A", 43)) + `"}`)
	for _, c := range []struct {
		name string
		cnf  *binding.Confirmation
		dpop bool
		rule binding.Rule
		want fault.Code
	}{
		{"unbound as bearer", nil, false, binding.AsIssued, fault.None},
		{"unbound by DPoP", nil, true, binding.AsIssued, fault.TokenBindingFailed},
		{"unbound where dpop is asked", nil, false, binding.ToKey, fault.TokenBindingFailed},
		{"unbound where mtls is asked", nil, false, binding.ToCertificate, fault.TokenBindingFailed},
		{"key by DPoP", key, true, binding.AsIssued, fault.None},
		{"key by DPoP where dpop is asked", key, true, binding.ToKey, fault.None},
		{"key by DPoP where mtls is asked", key, true, binding.ToCertificate, fault.TokenBindingFailed},
		{"key as bearer", key, false, binding.AsIssued, fault.TokenBindingFailed},
		{"certificate without one", cert, false, binding.AsIssued, fault.TokenBindingFailed},
		{"certificate by DPoP", cert, true, binding.AsIssued, fault.TokenBindingFailed},
		{"certificate where dpop is asked", cert, false, binding.ToKey, fault.TokenBindingFailed},
	} {
		p := presented()
		p.DPoP = c.dpop
		if code, reason := c.cnf.Check(request(maker{}.make(t)), c.rule, p); code != c.want {
			t.Errorf("%s: %v, %s", c.name, code, reason)
		}
	}
}

// What RFC 9449 section 4.3 and RFC 3986 section 6.2 call the same URI.
func TestHtuIsOurExternalURI(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, htu string
		set       func(*exchange.Exchange)
		want      fault.Code
	}{
		{"query and fragment", "https://api.example.com/orders/1?a=b#c", nil, fault.None},
		{"default port", "https://api.example.com:443/orders/1", nil, fault.None},
		{"port left empty", "https://api.example.com:/orders/1", nil, fault.None},
		{"capitals", "HTTPS://API.Example.com/orders/1", nil, fault.None},
		{"capitals in the path", "https://api.example.com/Orders/1", nil, fault.DPoPProofInvalid},
		{"escapes of letters", "https://api.example.com/%6frders/1", nil, fault.None},
		{"dot segments", "https://api.example.com/x/../orders/1", nil, fault.DPoPProofInvalid},
		{"trailing slash", "https://api.example.com/orders/1/", nil, fault.DPoPProofInvalid},
		{"user", "https://me@api.example.com/orders/1", nil, fault.DPoPProofInvalid},
		{"path alone", "/orders/1", nil, fault.DPoPProofInvalid},
		{"no host", "https:///orders/1", nil, fault.DPoPProofInvalid},
		{"another port in Host", "https://api.example.com/orders/1", func(x *exchange.Exchange) { x.Req.Authority = []byte("api.example.com:80") }, fault.DPoPProofInvalid},
		{"no path", "https://api.example.com", func(x *exchange.Exchange) { x.Req.Path = []byte("/") }, fault.None},
		{"port in Host", "https://api.example.com/orders/1", func(x *exchange.Exchange) { x.Req.Authority = []byte("API.example.com:443") }, fault.None},
		{"plain", "http://api.example.com/orders/1", func(x *exchange.Exchange) { x.Secure = false }, fault.None},
		{"https said of plain", "https://api.example.com/orders/1", func(x *exchange.Exchange) { x.Secure = false }, fault.DPoPProofInvalid},
		{"a proxy's host", "https://shop.example.com/orders/1", func(x *exchange.Exchange) { x.ForwardedHost = []byte("shop.example.com") }, fault.None},
		{"not the inner host", "https://api.example.com/orders/1", func(x *exchange.Exchange) { x.ForwardedHost = []byte("shop.example.com") }, fault.DPoPProofInvalid},
		{"publicUrl", "https://pub.example.com:8443/orders/1", func(x *exchange.Exchange) {
			x.Conn.PublicURL, x.Secure, x.ForwardedHost = "https://Pub.example.com:8443", false, []byte("shop.example.com")
		}, fault.None},
		{"publicUrl with its usual port", "https://pub.example.com/orders/1", func(x *exchange.Exchange) { x.Conn.PublicURL = "https://pub.example.com:443" }, fault.None},
		{"publicUrl that is plain", "http://pub.example.com/orders/1", func(x *exchange.Exchange) { x.Conn.PublicURL = "http://pub.example.com" }, fault.None},
		{"https of a publicUrl that is plain", "https://pub.example.com/orders/1", func(x *exchange.Exchange) { x.Conn.PublicURL = "http://pub.example.com" }, fault.DPoPProofInvalid},
		{"port 80 of https", "https://api.example.com:80/orders/1", nil, fault.DPoPProofInvalid},
		{"port 443 of http", "http://api.example.com:443/orders/1", func(x *exchange.Exchange) { x.Secure = false }, fault.DPoPProofInvalid},
		{"default port of http", "http://api.example.com:80/orders/1", func(x *exchange.Exchange) { x.Secure = false }, fault.None},
		{"port with a zero before it", "https://api.example.com:0443/orders/1", nil, fault.DPoPProofInvalid},
		{"a host that ends alike", "https://evil-api.example.com/orders/1", nil, fault.DPoPProofInvalid},
		{"a host that begins alike", "https://api.example.com.evil/orders/1", nil, fault.DPoPProofInvalid},
		{"a letter that folds to ours", "https://\u212a.example.com/orders/1", func(x *exchange.Exchange) { x.Req.Authority = []byte("k.example.com") }, fault.DPoPProofInvalid},
		{"IPv6", "https://[2001:DB8::1]/orders/1", func(x *exchange.Exchange) { x.Req.Authority = []byte("[2001:db8::1]:443") }, fault.None},
		{"IPv6 with a port", "https://[2001:db8::1]:8443/orders/1", func(x *exchange.Exchange) { x.Req.Authority = []byte("[2001:db8::1]:8443") }, fault.None},
		{"the proxy's port", "https://shop.example.com:8443/orders/1", func(x *exchange.Exchange) { x.ForwardedHost = []byte("shop.example.com:8443") }, fault.None},
		{"without the proxy's port", "https://shop.example.com/orders/1", func(x *exchange.Exchange) { x.ForwardedHost = []byte("shop.example.com:8443") }, fault.DPoPProofInvalid},
		{"query alone", "https://api.example.com?a=b", func(x *exchange.Exchange) { x.Req.Path = []byte("/") }, fault.None},
		{"fragment alone", "https://api.example.com#a", func(x *exchange.Exchange) { x.Req.Path = []byte("/") }, fault.None},
		{"our URI in the query", "https://evil.example/?https://api.example.com/orders/1", nil, fault.DPoPProofInvalid},
		{"our host as a user", "https://api.example.com@evil.example/orders/1", nil, fault.DPoPProofInvalid},
		{"a backslash", "https://api.example.com\\orders\\1", nil, fault.DPoPProofInvalid},
		{"two slashes", "https://api.example.com//orders/1", nil, fault.DPoPProofInvalid},
		{"an escaped slash", "https://api.example.com/orders%2F1", nil, fault.DPoPProofInvalid},
		{"an escaped slash that was asked for", "https://api.example.com/orders%2f1", func(x *exchange.Exchange) { x.Req.Path = []byte("/orders%2F1") }, fault.None},
		{"an escaped question mark", "https://api.example.com/orders/1%3Fa", nil, fault.DPoPProofInvalid},
		{"escapes cut", "https://api.example.com/orders/1%", nil, fault.DPoPProofInvalid},
		{"escapes in capitals or not", "https://api.example.com/caf%c3%a9", func(x *exchange.Exchange) { x.Req.Path = []byte("/caf%C3%A9") }, fault.None},
		{"another scheme in capitals", "HTTP://api.example.com/orders/1", nil, fault.DPoPProofInvalid},
		{"scheme and colon alone", "https:api.example.com/orders/1", nil, fault.DPoPProofInvalid},
		{"a space before", " https://api.example.com/orders/1", nil, fault.DPoPProofInvalid},
		{"a space after", "https://api.example.com/orders/1 ", nil, fault.DPoPProofInvalid},
		{"nobody has connected", "https://api.example.com/orders/1", func(x *exchange.Exchange) { x.Conn = nil }, fault.None},
		{"no Host", "https:///orders/1", func(x *exchange.Exchange) { x.Req.Authority = nil }, fault.DPoPProofInvalid},
		{"no slashes, and our path", "/orders/1", func(x *exchange.Exchange) { x.Req.Authority = nil }, fault.DPoPProofInvalid},
		{"not Host beside publicUrl", "https://api.example.com/orders/1", func(x *exchange.Exchange) { x.Conn.PublicURL = "https://pub.example.com" }, fault.DPoPProofInvalid},
	} {
		x := request(maker{payload: members{"htu": c.htu}}.make(t))
		if c.set != nil {
			c.set(x)
		}
		if code, reason := judge(x); code != c.want {
			t.Errorf("%s: %v, %s", c.name, code, reason)
		}
	}
}

// The example of RFC 9449 section 7.1, whose token is bound as in section 6.1.
func TestTheExampleOfRFC9449(t *testing.T) {
	t.Parallel()
	const (
		example = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
		proof   = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
		cnf     = `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`
	)
	x := request(proof)
	x.Req.Authority, x.Req.Path = []byte("resource.example.org"), []byte("/protectedresource")
	p := presented()
	p.Token, p.Now = []byte(example), time.Unix(1562262618, 0)
	if code, reason := binding.Parse(cnf).Check(x, binding.AsIssued, p); code != fault.None {
		t.Errorf("%v, %s", code, reason)
	}
}

// Whatever is changed in an accepted proof, at any byte, it is refused.
func TestAnAcceptedProofWithAnythingChangedIsRefused(t *testing.T) {
	t.Parallel()
	good := maker{}.make(t)
	for i := range good {
		b := []byte(good)
		b[i] ^= 1
		if code, _ := judge(request(string(b))); code == fault.None {
			t.Fatalf("byte %d changed from %q to %q", i, good[i], b[i])
		}
	}
	// Members of the payload one by one, under the old signature.
	parts := strings.Split(good, ".")
	for name := range map[string]bool{"jti": true, "htm": true, "htu": true, "iat": true, "ath": true} {
		changed := strings.Split(maker{payload: members{name: gone}}.make(t), ".")
		if code, _ := judge(request(parts[0] + "." + changed[1] + "." + parts[2])); code == fault.None {
			t.Errorf("without %s", name)
		}
	}
}

func FuzzProofs(f *testing.F) {
	f.Add(maker{}.make(f))
	f.Add(maker{payload: members{"nonce": "x"}}.make(f))
	f.Add("a.b.c")
	good := maker{}.make(f)
	f.Fuzz(func(t *testing.T, value string) {
		code, reason := judge(request(value))
		if code == fault.None && value != good {
			// Only the key's holder makes others; the fuzzer does not have it.
			if signed := strings.LastIndexByte(value, '.'); !strings.HasPrefix(good, value[:signed]) {
				t.Fatalf("%q is accepted", value)
			}
		}
		if (code == fault.None) != (reason == "") {
			t.Fatalf("%v with reason %q", code, reason)
		}
	})
}

// What a good proof costs, and what bad ones do.
func BenchmarkProof(b *testing.B) {
	m := material()
	stolen := members{"jwk": jwkOf(m.ec.Public())}
	for _, c := range []struct {
		name    string
		private crypto.Signer // of the token's key
		maker
		want fault.Code
	}{
		{"ES256", m.ec, maker{}, fault.None},
		{"EdDSA", m.ed, maker{alg: "EdDSA", private: m.ed}, fault.None},
		{"RS256", m.rsa, maker{alg: "RS256", private: m.rsa}, fault.None},
		{"PS256", m.rsa, maker{alg: "PS256", private: m.rsa}, fault.None},
		{"forged", m.ec, maker{alg: "ES256", private: m.other, header: stolen}, fault.DPoPProofInvalid},
		{"forged and old", m.ec, maker{alg: "ES256", private: m.other, header: stolen, payload: members{"iat": 1}}, fault.DPoPNonceRequired},
		{"of another key", m.ec, maker{alg: "ES256", private: m.other}, fault.DPoPProofInvalid},
		{"of another URI", m.ec, maker{payload: members{"htu": "https://api.example.com/orders/2"}}, fault.DPoPProofInvalid},
	} {
		b.Run(c.name, func(b *testing.B) {
			x := request(c.make(b))
			cnf, p := bound(c.private), presented()
			p.Look = true
			b.ReportAllocs()
			for b.Loop() {
				x.Trail.Begin(0)
				if code, _ := cnf.Check(x, binding.AsIssued, p); code != c.want {
					b.Fatal(code)
				}
			}
		})
	}
}
