package guessing

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddressesAreCountedByNetwork(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1/32",
		"::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1":      "2001:db8::/64",
		"fe80::1%eth0":     "fe80::/64",
	} {
		if got := Network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s is counted as %s, want %s", addr, got, want)
		}
	}
	if Network(netip.Addr{}) != (netip.Prefix{}) {
		t.Error("an address that cannot be read is none")
	}
}

func TestSparedRangesAreFoundInEverySpelling(t *testing.T) {
	t.Parallel()
	s := Spared{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fe80::/64")}
	for addr, want := range map[string]bool{
		"10.0.0.9": true, "::ffff:10.0.0.9": true, "10.0.1.9": false, "2001:db8:1::1": true, "fe80::1%eth0": true, "::1": false,
	} {
		if s.Contains(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s: spared %t", addr, !want)
		}
	}
	if s.Contains(netip.Addr{}) {
		t.Error("an address that cannot be read is spared")
	}
}
