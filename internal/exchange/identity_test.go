package exchange_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/exchange"
)

func TestScopesAndRolesAreComparedWhole(t *testing.T) {
	t.Parallel()
	id := &exchange.Identity{Scopes: []string{"a", "b"}, Roles: []string{"c", "d"}}
	for text, want := range map[string][2]bool{"a": {true, false}, "b": {true, false}, "c": {false, true}, "d": {false, true}, "": {}, "A": {}, "ab": {}} {
		if id.HasScope(text) != want[0] || id.HasRole(text) != want[1] {
			t.Errorf("%q: scope %t, role %t", text, id.HasScope(text), id.HasRole(text))
		}
	}
}

func TestAKeyIsGoodFromItsAddressesOnly(t *testing.T) {
	t.Parallel()
	in, out := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.7")
	some := &exchange.KeyLimits{From: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("192.0.2.0/24")}, Routes: []string{"a"}}
	for what, c := range map[string]struct {
		limits  *exchange.KeyLimits
		in, out bool
		b       bool
	}{
		"without limits":  {nil, true, true, true},
		"of empty limits": {&exchange.KeyLimits{}, true, true, true},
		"of some":         {some, true, false, false},
	} {
		if c.limits.Admits(in) != c.in || c.limits.Admits(out) != c.out || !c.limits.Opens("a") || c.limits.Opens("b") != c.b {
			t.Errorf("a key %s", what)
		}
	}
	if !some.Admits(netip.MustParseAddr("::ffff:192.0.2.7")) {
		t.Error("an address of IPv4 written as one of IPv6 is another")
	}
}

func TestEachKeyOfARequestHasItsOwnIdentity(t *testing.T) {
	t.Parallel()
	x := &exchange.Exchange{}
	acme, zeta := &exchange.Consumer{Name: "acme"}, &exchange.Consumer{Name: "zeta"}
	one, other := exchange.KeyRef{ID: [8]byte([]byte("aaaaaaaa"))}, exchange.KeyRef{ID: [8]byte([]byte("bbbbbbbb")), Imported: true}
	a := x.KeyIdentity(one, exchange.KeyRecord{Consumer: acme})
	b := x.KeyIdentity(other, exchange.KeyRecord{Consumer: zeta})
	if a.Consumer != "acme" || a.Proof != "wk_aaaaaaaa" || b.Consumer != "zeta" || b.Proof != "ik_bbbbbbbb" {
		t.Errorf("%+v, %+v", a, b)
	}
	if again := x.KeyIdentity(one, exchange.KeyRecord{Consumer: acme}); again != a {
		t.Error("the same key takes memory twice")
	}
	if (*exchange.Identity)(nil).Keep() != nil {
		t.Error("nobody is kept as somebody")
	}
}

func TestARequestIDHasOneForm(t *testing.T) {
	t.Parallel()
	id := exchange.NewRequestID()
	if got, ok := exchange.ParseRequestID(id.String()); !ok || got != id {
		t.Errorf("%s is read as %s", id, got)
	}
	for _, s := range []string{"", id.String()[:30], id.String() + "00", strings.Repeat("x", 32)} {
		if _, ok := exchange.ParseRequestID(s); ok {
			t.Errorf("%q is a request's id", s)
		}
	}
}

func TestATokenIsRevokedByWhatItSaysOnly(t *testing.T) {
	t.Parallel()
	whole := exchange.NewToken([32]byte{1}, "https://a/", "t1", "alice", 1000, 30)
	bare := exchange.NewToken([32]byte{1}, "https://a/", "", "", 0, 30)
	if whole.ID == (exchange.Mark{}) || whole.Subject == (exchange.Mark{}) || whole.Since != 970_000 {
		t.Errorf("%+v", whole)
	}
	if bare.ID != (exchange.Mark{}) || bare.Subject != (exchange.Mark{}) || bare.Since != 0 || bare.Itself != whole.Itself || bare.Issuer != whole.Issuer {
		t.Errorf("%+v", bare)
	}
}

func TestOnlyProxiesInFrontAreTrusted(t *testing.T) {
	t.Parallel()
	front := &exchange.Front{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}}
	for addr, want := range map[string]bool{"10.1.2.3": true, "192.0.2.1": true, "198.51.100.1": false} {
		if front.Trusts(netip.MustParseAddr(addr)) != want || (*exchange.Front)(nil).Trusts(netip.MustParseAddr(addr)) {
			t.Errorf("%s: want %t", addr, want)
		}
	}
}

func TestACaptureIsFoundByItsName(t *testing.T) {
	t.Parallel()
	p := exchange.Params{{Name: "a", Value: []byte("1")}, {Name: "b", Value: []byte("2")}}
	for name, want := range map[string]string{"a": "1", "b": "2", "c": ""} {
		if v, ok := p.Get(name); string(v) != want || ok != (want != "") {
			t.Errorf("%s: %q, %t", name, v, ok)
		}
	}
}
