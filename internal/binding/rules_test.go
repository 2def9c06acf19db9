package binding_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// ordered is a JSON object, its names and values as they are written.
type ordered []entry

type entry struct{ name, value string }

func (o ordered) String() string {
	var all []string
	for _, e := range o {
		all = append(all, `"`+e.name+`":`+e.value)
	}
	return "{" + strings.Join(all, ",") + "}"
}

func orderedOf(m members) (o ordered) {
	for name, v := range m {
		b, _ := json.Marshal(v)
		o = append(o, entry{name, string(b)})
	}
	slices.SortFunc(o, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return o
}

// spoiled is o with member i deleted, duplicated, re-cased or retyped.
func (o ordered) spoiled(i int) map[string]ordered {
	e := o[i]
	with := func(change ...entry) ordered {
		return slices.Concat(o[:i], change, o[i+1:])
	}
	all := map[string]ordered{
		"deleted":                    with(),
		"duplicated":                 with(e, e),
		"duplicated, last":           append(slices.Clone(o), e),
		"duplicated with an escape":  with(e, entry{e.name[:len(e.name)-1] + fmt.Sprintf(`\u%04x`, e.name[len(e.name)-1]), e.value}),
		"duplicated by another":      with(e, entry{e.name, `"x"`}),
		"duplicated after another":   with(entry{e.name, `"x"`}, e),
		"in capitals":                with(entry{strings.ToUpper(e.name), e.value}),
		"with a capital":             with(entry{strings.ToUpper(e.name[:1]) + e.name[1:], e.value}),
		"with a space":               with(entry{e.name + " ", e.value}),
		"as a list":                  with(entry{e.name, "[" + e.value + "]"}),
		"as an object":               with(entry{e.name, `{"x":` + e.value + `}`}),
		"null":                       with(entry{e.name, "null"}),
		"true":                       with(entry{e.name, "true"}),
		"empty":                      with(entry{e.name, `""`}),
		"a fraction":                 with(entry{e.name, "1.5"}),
		"a number as another writes": with(entry{e.name, "1e9"}),
	}
	if e.value[0] == '"' {
		all["as a number"] = with(entry{e.name, "1"})
	} else {
		all["as text"] = with(entry{e.name, fmt.Sprintf("%q", e.value)})
	}
	return all
}

// The holder of the key signs whatever it likes: no proof holds that lacks
// anything, or says anything in more or other ways than one. That the key is
// known from a proof that held changes nothing.
func TestAProofWithAnyMemberSpoiledIsRefusedHoweverWellItIsSigned(t *testing.T) {
	t.Parallel()
	m := material()
	for _, c := range []struct {
		alg string
		maker
	}{{"ES256", maker{}}, {"EdDSA", maker{alg: "EdDSA", private: m.ed}}, {"RS256", maker{alg: "RS256", private: m.rsa}}} {
		signer := c.private
		if signer == nil {
			signer = m.ec
		}
		jwk := orderedOf(jwkOf(signer.Public()))
		x := request(maker{payload: members{"iat": 1}}.make(t))
		judge(x)
		header := ordered{{"typ", `"dpop+jwt"`}, {"alg", `"` + c.alg + `"`}, {"jwk", jwk.String()}}
		payload := ordered{
			{"jti", `"j"`}, {"htm", `"GET"`}, {"htu", `"https://api.example.com/orders/1"`}, {"iat", "1"}, {"ath", `"` + hashOfToken() + `"`},
			{"nonce", `"` + field(x, "DPoP-Nonce") + `"`},
		}
		good := c.sign(t, header.String(), payload.String())
		warm := bound(signer)
		come := func() *binding.Presented {
			p := presented()
			p.Replays = &ledger{first: true}
			return p
		}
		refused := func(what, proof string) {
			t.Helper()
			if code, reason := warm.Check(request(good), binding.AsIssued, come()); code != fault.None {
				t.Fatalf("%s: %v, %s", c.alg, code, reason)
			}
			for _, cnf := range []*binding.Confirmation{warm, bound(signer)} {
				if code, _ := cnf.Check(request(proof), binding.AsIssued, come()); code == fault.None {
					t.Errorf("%s, %s: accepted", c.alg, what)
				}
			}
		}
		old := good[strings.LastIndexByte(good, '.'):]
		for part, o := range map[string]ordered{"header": header, "payload": payload, "jwk": jwk} {
			for i := range o {
				for how, spoiled := range o.spoiled(i) {
					h, p := header, payload
					switch part {
					case "header":
						h = spoiled
					case "payload":
						p = spoiled
					case "jwk":
						h = ordered{header[0], header[1], {"jwk", spoiled.String()}}
					}
					what := fmt.Sprintf("%s of the %s %s", o[i].name, part, how)
					proof := c.sign(t, h.String(), p.String())
					refused(what, proof)
					refused(what+", under the old signature", proof[:strings.LastIndexByte(proof, '.')]+old)
				}
			}
		}
	}
}

// A proof is for one method, one URI, one token and one key.
func TestAProofIsOfNoUseForAnythingElse(t *testing.T) {
	t.Parallel()
	proof := maker{}.make(t)
	for name, change := range map[string]func(*exchange.Exchange, *binding.Presented, **binding.Confirmation){
		"another method": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) {
			x.Req.Method = []byte("POST")
		},
		"another path": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) {
			x.Req.Path = []byte("/orders/2")
		},
		"a path below": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) {
			x.Req.Path = []byte("/orders/1/x")
		},
		"another host": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) {
			x.Req.Authority = []byte("api.example.org")
		},
		"another port": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) {
			x.Req.Authority = []byte("api.example.com:8443")
		},
		"another scheme": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) { x.Secure = false },
		"another proxy": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) {
			x.ForwardedHost = []byte("shop.example.com")
		},
		"another publicUrl": func(x *exchange.Exchange, _ *binding.Presented, _ **binding.Confirmation) {
			x.Conn.PublicURL = "https://shop.example.com"
		},
		"another token": func(_ *exchange.Exchange, p *binding.Presented, _ **binding.Confirmation) {
			p.Token = []byte(token + "x")
		},
		"no token": func(_ *exchange.Exchange, p *binding.Presented, _ **binding.Confirmation) { p.Token = nil },
		"another key": func(_ *exchange.Exchange, _ *binding.Presented, c **binding.Confirmation) {
			*c = bound(material().other)
		},
		"nothing else": nil,
	} {
		x, p, c := request(proof), presented(), bound(material().ec)
		if change != nil {
			change(x, p, &c)
		}
		if code, _ := c.Check(x, binding.AsIssued, p); (code == fault.None) != (change == nil) {
			t.Errorf("%s: %v", name, code)
		}
	}
}

// That the key of a proof is known saves reading it, and nothing else.
func TestAKnownKeyVouchesForNothing(t *testing.T) {
	t.Parallel()
	m := material()
	for name, c := range map[string]struct {
		first, then maker
		want        fault.Code
	}{
		"the same key again":               {maker{}, maker{payload: members{"jti": "2"}}, fault.None},
		"forged under its jwk":             {maker{}, maker{alg: "ES256", private: m.other, header: members{"jwk": jwkOf(m.ec.Public())}}, fault.DPoPProofInvalid},
		"another key":                      {maker{}, maker{alg: "ES256", private: m.other}, fault.DPoPProofInvalid},
		"its jwk with a private part":      {maker{}, maker{header: members{"jwk": jwkWith(m.ec.Public(), "d", "AAAA")}}, fault.DPoPProofInvalid},
		"its jwk for encryption":           {maker{}, maker{header: members{"jwk": jwkWith(m.ec.Public(), "use", "enc")}}, fault.DPoPProofInvalid},
		"its jwk with more that is no bar": {maker{}, maker{header: members{"jwk": jwkWith(m.ec.Public(), "use", "sig")}}, fault.None},
		"another alg of the same key":      {maker{alg: "RS256", private: m.rsa}, maker{alg: "PS256", private: m.rsa}, fault.None},
		"an alg its jwk is not for":        {maker{alg: "RS256", private: m.rsa, header: members{"jwk": jwkWith(m.rsa.Public(), "alg", "RS256")}}, maker{alg: "PS256", private: m.rsa, header: members{"jwk": jwkWith(m.rsa.Public(), "alg", "RS256")}}, fault.DPoPProofInvalid},
		"alg changed in the jwk":           {maker{alg: "RS256", private: m.rsa, header: members{"jwk": jwkWith(m.rsa.Public(), "alg", "RS256")}}, maker{alg: "PS256", private: m.rsa, header: members{"jwk": jwkWith(m.rsa.Public(), "alg", "PS256")}}, fault.None},
		"none":                             {maker{}, maker{header: members{"alg": "none"}}, fault.DPoPProofInvalid},
	} {
		signer := c.first.private
		if signer == nil {
			signer = m.ec
		}
		cnf := bound(signer)
		if code, reason := cnf.Check(request(c.first.make(t)), binding.AsIssued, presented()); code != fault.None {
			t.Fatalf("%s: %v, %s", name, code, reason)
		}
		for range 2 {
			if code, reason := cnf.Check(request(c.then.make(t)), binding.AsIssued, presented()); code != c.want {
				t.Errorf("%s: %v, %s", name, code, reason)
			}
		}
	}
}

// A key that is known is neither read nor remembered again, and one that takes
// too much room is not remembered at all.
func TestAProofOfAKnownKeyAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ed := material().ed
	allocations := func(size int) float64 {
		x := request(maker{alg: "EdDSA", private: ed, header: members{"jwk": jwkWith(ed.Public(), "more", strings.Repeat("x", size))}}.make(t))
		cnf, p := bound(ed), presented()
		p.Look = true
		return testing.AllocsPerRun(10, func() {
			if code, reason := cnf.Check(x, binding.AsIssued, p); code != fault.None {
				t.Fatal(code, reason)
			}
		})
	}
	known, fits, tooLong := allocations(1), allocations(900), allocations(1100)
	if known > 12 || fits > known || tooLong <= fits {
		t.Errorf("%v allocations, %v of a long key, %v of one that is too long", known, fits, tooLong)
	}
}

// Whatever the holder of the key signs: what is accepted says, read by another
// reader, that it is for this request and of now.
func FuzzSignedProofs(f *testing.F) {
	private := material().ed
	jwk, _ := json.Marshal(jwkOf(private.Public()))
	header := `{"typ":"dpop+jwt","alg":"EdDSA","jwk":` + string(jwk) + `}`
	good := fmt.Sprintf(`{"jti":"j","htm":"GET","htu":"https://api.example.com/orders/1","iat":%d,"ath":%q}`, now.Unix(), hashOfToken())
	f.Add(header, good)
	f.Add(header, strings.Replace(good, "api", "API", 1))
	f.Add(header, strings.Replace(good, `orders/1"`, `%6frders/1?a#b"`, 1))
	f.Add(header, strings.Replace(good, "{", `{"nonce":"x",`, 1))
	f.Add(strings.Replace(header, "{", `{"crit":[],`, 1), good)
	cnf := bound(private)
	f.Fuzz(func(t *testing.T, header, payload string) {
		p := presented()
		p.Replays = &ledger{first: true}
		proof := maker{alg: "EdDSA", private: private}.sign(t, header, payload)
		if code, _ := cnf.Check(request(proof), binding.AsIssued, p); code != fault.None {
			return
		}
		var h, c map[string]any
		if json.Unmarshal([]byte(header), &h) != nil || json.Unmarshal([]byte(payload), &c) != nil {
			t.Fatal("accepted, and no JSON")
		}
		htu, _ := c["htu"].(string)
		uri, err := url.Parse(htu)
		if err != nil || uri.Scheme != "https" || !strings.EqualFold(uri.Hostname(), "api.example.com") || uri.User != nil || uri.Port() != "" && uri.Port() != "443" || uri.Path != "/orders/1" {
			t.Errorf("htu %q", htu)
		}
		jti, _ := c["jti"].(string)
		iat, _ := c["iat"].(float64)
		_, nonce := c["nonce"]
		if h["typ"] != "dpop+jwt" || h["alg"] != "EdDSA" || c["htm"] != "GET" || c["ath"] != hashOfToken() || jti == "" || len(jti) > 128 ||
			math.Abs(iat-float64(now.Unix())) > 60 || nonce {
			t.Errorf("%s %s", header, payload)
		}
	})
}
