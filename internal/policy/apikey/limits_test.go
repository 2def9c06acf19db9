package apikey_test

import (
	"crypto/sha256"
	"net/netip"
	"testing"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/policy/apikey"
)

func TestAKeyIsGoodOnlyWhereItIsMeantFor(t *testing.T) {
	t.Parallel()
	office := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for what, c := range map[string]struct {
		limits *exchange.KeyLimits
		from   string
		code   fault.Code
	}{
		"no limits":                     {nil, "192.0.2.1", fault.None},
		"an address of the first range": {&exchange.KeyLimits{From: office}, "203.0.113.9", fault.None},
		"of the second":                 {&exchange.KeyLimits{From: office}, "2001:db8::1", fault.None},
		"an IPv4 address as IPv6":       {&exchange.KeyLimits{From: office}, "::ffff:203.0.113.9", fault.None},
		"an address with a zone":        {&exchange.KeyLimits{From: office}, "2001:db8::1%eth0", fault.None},
		"another address":               {&exchange.KeyLimits{From: office}, "203.0.114.1", fault.AddressDenied},
		"no address":                    {&exchange.KeyLimits{From: office}, "", fault.AddressDenied},
		"its route":                     {&exchange.KeyLimits{Routes: []string{"a", "orders"}}, "192.0.2.1", fault.None},
		"another route":                 {&exchange.KeyLimits{Routes: []string{"a", "orders2"}}, "192.0.2.1", fault.CredentialNotAllowedHere},
		"its address on another route":  {&exchange.KeyLimits{From: office, Routes: []string{"a"}}, "203.0.113.9", fault.CredentialNotAllowedHere},
		"its route from elsewhere":      {&exchange.KeyLimits{From: office, Routes: []string{"orders"}}, "192.0.2.1", fault.AddressDenied},
	} {
		key := apikey.Generate()
		d, err := directory.New([]directory.Consumer{{Name: "acme", Keys: []directory.Key{{Digest: sha256.Sum256([]byte(key)), Limits: c.limits}}}})
		if err != nil {
			t.Fatal(err)
		}
		parts, err := apikey.New(apikey.Config{}, pipeline.Env{Directory: d, Route: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		x := request("x-api-key", key)
		if c.from != "" {
			x.Client = netip.MustParseAddr(c.from)
		}
		id, v := parts.Authenticate.Authenticate(x, &pipeline.World{Now: now})
		if v.Code() != c.code || (id != nil) != (c.code == fault.None) {
			t.Errorf("%s: %v, want %v", what, v.Code(), c.code)
		}
	}
}

// What streams keep of an identity outlives the exchange that made it.
func TestAKeptIdentityIsNotTheNextOnes(t *testing.T) {
	t.Parallel()
	one, two := apikey.Ref([]byte(apikey.Generate())), apikey.Ref([]byte(apikey.Generate()))
	var x exchange.Exchange
	acme := exchange.KeyRecord{Consumer: &exchange.Consumer{Name: "acme"}}
	kept := x.KeyIdentity(one, acme).Keep()
	x.Reset()
	x.KeyIdentity(two, exchange.KeyRecord{Consumer: &exchange.Consumer{Name: "globex"}})
	if kept.Consumer != "acme" || kept.Key != one || kept.Proof != "wk_"+string(one.ID[:]) {
		t.Errorf("%+v", kept)
	}
	if (*exchange.Identity)(nil).Keep() != nil {
		t.Error("somebody was made of nobody")
	}
}
