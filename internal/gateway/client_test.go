package gateway

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/warder-gateway/warder/internal/exchange"
)

// asked makes a request over a connection from peer, with fields "Name: value".
func asked(peer string, front *exchange.Front, fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{Conn: &exchange.Conn{Peer: netip.AddrPortFrom(netip.MustParseAddr(peer), 4711)}}
	if front.Trusts(x.Conn.Peer.Addr()) {
		x.Conn.Front = front
	}
	x.Req.Reset()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		x.Req.Fields = append(x.Req.Fields, exchange.Field{Name: []byte(name), Value: []byte(strings.Trim(value, " ")), ID: exchange.Identify([]byte(name))})
	}
	return x
}

// front trusts 10.0.0.0/24 and 2001:db8:1::/64.
func front(rfc7239 bool) *exchange.Front {
	return &exchange.Front{
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8:1::/64")},
		RFC7239: rfc7239,
	}
}

func TestTheClientIsFoundFromTheRightOverTrustedHops(t *testing.T) {
	t.Parallel()
	const peer = "10.0.0.9"
	many := func(n int, entry string) string { return strings.TrimSuffix(strings.Repeat(entry+", ", n), ", ") }
	for _, c := range []struct {
		name   string
		rfc    bool
		fields []string
		client string
		chain  string // towards the upstream; "": client and peer
		secure bool
		host   string
	}{
		{name: "nothing is said", client: peer, chain: peer},
		{name: "one client", fields: []string{"X-Forwarded-For: 203.0.113.9"}, client: "203.0.113.9"},
		{name: "spoofed entries on the left", fields: []string{"X-Forwarded-For: 6.6.6.6, 10.0.0.1, 203.0.113.9"}, client: "203.0.113.9"},
		{name: "spoofed in a field of its own", fields: []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9"}, client: "203.0.113.9"},
		{name: "spoofed with a list that ends in a comma", fields: []string{"X-Forwarded-For: 6.6.6.6,", "X-Forwarded-For: 203.0.113.9"}, client: "203.0.113.9"},
		{name: "two proxies", fields: []string{"X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.5"}, client: "203.0.113.9", chain: "203.0.113.9, 10.0.0.5, " + peer},
		{name: "two proxies, a field each", fields: []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9", "Accept: x", "x-forwarded-for: 10.0.0.5"}, client: "203.0.113.9", chain: "203.0.113.9, 10.0.0.5, " + peer},
		{name: "only proxies", fields: []string{"X-Forwarded-For: 10.0.0.1, 10.0.0.2"}, client: "10.0.0.1", chain: "10.0.0.1, 10.0.0.2, " + peer},
		{name: "a trusted address behind an untrusted one", fields: []string{"X-Forwarded-For: 10.0.0.1, 203.0.113.9, 198.51.100.1"}, client: "198.51.100.1"},
		{name: "not an address in the middle", fields: []string{"X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.5"}, client: "10.0.0.5", chain: "10.0.0.5, " + peer},
		{name: "not an address at the right end", fields: []string{"X-Forwarded-For: 6.6.6.6, unknown"}, client: peer, chain: peer},
		{name: "an empty field", fields: []string{"X-Forwarded-For:"}, client: peer, chain: peer},
		{name: "an empty entry in the middle", fields: []string{"X-Forwarded-For: 6.6.6.6,, 10.0.0.5"}, client: "10.0.0.5", chain: "10.0.0.5, " + peer},
		{name: "an empty entry at the end", fields: []string{"X-Forwarded-For: 6.6.6.6, "}, client: peer, chain: peer},
		{name: "a port", fields: []string{"X-Forwarded-For: 203.0.113.9:443"}, client: "203.0.113.9"},
		{name: "a port that is too long", fields: []string{"X-Forwarded-For: 203.0.113.9:443443"}, client: peer, chain: peer},
		{name: "a port that is empty", fields: []string{"X-Forwarded-For: 203.0.113.9:"}, client: peer, chain: peer},
		{name: "IPv6", fields: []string{"X-Forwarded-For: 2001:DB8::7"}, client: "2001:db8::7"},
		{name: "IPv6 in brackets", fields: []string{"X-Forwarded-For: [2001:db8::7]"}, client: "2001:db8::7"},
		{name: "IPv6 with a port", fields: []string{"X-Forwarded-For: [2001:db8::7]:443, [2001:db8:1::1]:80"}, client: "2001:db8::7", chain: "2001:db8::7, 2001:db8:1::1, " + peer},
		{name: "IPv6 with a zone", fields: []string{"X-Forwarded-For: fe80::1%eth0"}, client: peer, chain: peer},
		{name: "IPv6, bracket left open", fields: []string{"X-Forwarded-For: [2001:db8::7"}, client: peer, chain: peer},
		{name: "IPv6, words behind the bracket", fields: []string{"X-Forwarded-For: [2001:db8::7]x"}, client: peer, chain: peer},
		{name: "IPv4 in brackets", fields: []string{"X-Forwarded-For: [203.0.113.9]"}, client: peer, chain: peer},
		{name: "IPv4 in IPv6 clothes", fields: []string{"X-Forwarded-For: 6.6.6.6, ::ffff:10.0.0.5"}, client: "6.6.6.6", chain: "6.6.6.6, 10.0.0.5, " + peer},
		{name: "IPv4 with leading zeros", fields: []string{"X-Forwarded-For: 010.0.0.5"}, client: peer, chain: peer},
		{name: "IPv4 as a number", fields: []string{"X-Forwarded-For: 167772165"}, client: peer, chain: peer},
		{name: "IPv4 of three parts", fields: []string{"X-Forwarded-For: 10.0.5"}, client: peer, chain: peer},
		{name: "IPv4 of five parts", fields: []string{"X-Forwarded-For: 10.0.0.5.1"}, client: peer, chain: peer},
		{name: "unspecified", fields: []string{"X-Forwarded-For: 6.6.6.6, 0.0.0.0"}, client: peer, chain: peer},
		{name: "quoted", fields: []string{`X-Forwarded-For: "203.0.113.9"`}, client: peer, chain: peer},
		{name: "a form of the other family", fields: []string{"X-Forwarded-For: for=203.0.113.9"}, client: peer, chain: peer},
		{name: "the other family", fields: []string{"Forwarded: for=6.6.6.6;proto=https;host=evil.example"}, client: peer, chain: peer},
		{name: "mixed families", fields: []string{"Forwarded: for=6.6.6.6;proto=https;host=evil.example", "X-Forwarded-For: 203.0.113.9"}, client: "203.0.113.9"},
		{name: "relatives that nobody reads", fields: []string{"X-Real-IP: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "X-Forwarded: for=6.6.6.6", "X-Client-IP: 6.6.6.6", "X-Forwarded-Ssl: on"}, client: peer, chain: peer},
		{name: "64 hops", fields: []string{"X-Forwarded-For: " + many(63, "10.0.0.5")}, client: "10.0.0.5", chain: many(63, "10.0.0.5") + ", " + peer},
		{name: "more than 64 hops", fields: []string{"X-Forwarded-For: 6.6.6.6, " + many(64, "10.0.0.5")}, client: "10.0.0.5", chain: many(64, "10.0.0.5") + ", " + peer},
		{name: "more than 64 hops, a field each", fields: append([]string{"X-Forwarded-For: 6.6.6.6"}, strings.Split(strings.TrimSuffix(strings.Repeat("X-Forwarded-For: 10.0.0.5|", 80), "|"), "|")...), client: "10.0.0.5", chain: many(64, "10.0.0.5") + ", " + peer},

		{name: "https", fields: []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: HTTPS"}, client: "203.0.113.9", secure: true},
		{name: "http", fields: []string{"X-Forwarded-Proto: http"}, client: peer, chain: peer},
		{name: "https on the left", fields: []string{"X-Forwarded-Proto: https, http"}, client: peer, chain: peer},
		{name: "https on the right", fields: []string{"X-Forwarded-Proto: http, https"}, client: peer, chain: peer, secure: true},
		{name: "https in the first field", fields: []string{"X-Forwarded-Proto: https", "X-Forwarded-Proto: http"}, client: peer, chain: peer},
		{name: "https and a comma", fields: []string{"X-Forwarded-Proto: https,"}, client: peer, chain: peer},
		{name: "another protocol", fields: []string{"X-Forwarded-Proto: httpsx"}, client: peer, chain: peer},
		{name: "host", fields: []string{"X-Forwarded-Host: evil.example, api.example.com:8443"}, client: peer, chain: peer, host: "api.example.com:8443"},
		{name: "a host that is none", fields: []string{"X-Forwarded-Host: a b"}, client: peer, chain: peer},
		{name: "a host with a path", fields: []string{"X-Forwarded-Host: api.example.com/evil"}, client: peer, chain: peer},

		{name: "Forwarded", rfc: true, fields: []string{"Forwarded: for=203.0.113.9;proto=https;host=api.example.com;by=10.0.0.9"}, client: "203.0.113.9", secure: true, host: "api.example.com"},
		{name: "Forwarded in other letters, with spaces", rfc: true, fields: []string{`Forwarded: FOR="203.0.113.9" ; Proto=HTTPS`}, client: "203.0.113.9", secure: true},
		{name: "Forwarded, spoofed on the left", rfc: true, fields: []string{"Forwarded: for=6.6.6.6;proto=https, for=203.0.113.9"}, client: "203.0.113.9"},
		{name: "Forwarded, several fields", rfc: true, fields: []string{"Forwarded: for=6.6.6.6", "Forwarded: for=203.0.113.9;proto=http", `Forwarded: for="10.0.0.5:80";proto=https`}, client: "203.0.113.9", chain: "203.0.113.9, 10.0.0.5, " + peer, secure: true},
		{name: "Forwarded, IPv6 with a port", rfc: true, fields: []string{`Forwarded: for="[2001:db8::7]:4711"`}, client: "2001:db8::7"},
		{name: "Forwarded, a hidden port", rfc: true, fields: []string{`Forwarded: for="203.0.113.9:_p-1"`}, client: "203.0.113.9"},
		{name: "Forwarded, IPv6 without quotes", rfc: true, fields: []string{`Forwarded: for=[2001:db8::7]`}, client: peer, chain: peer},
		{name: "Forwarded, IPv6 without brackets", rfc: true, fields: []string{`Forwarded: for="2001:db8::7"`}, client: peer, chain: peer},
		{name: "Forwarded, unknown", rfc: true, fields: []string{"Forwarded: for=6.6.6.6, for=unknown;proto=https"}, client: peer, chain: peer, secure: true},
		{name: "Forwarded, an obfuscated name", rfc: true, fields: []string{"Forwarded: for=6.6.6.6, for=_hidden, for=10.0.0.5"}, client: "10.0.0.5", chain: "10.0.0.5, " + peer},
		{name: "Forwarded without for", rfc: true, fields: []string{"Forwarded: for=6.6.6.6, proto=https"}, client: peer, chain: peer, secure: true},
		{name: "Forwarded with for twice", rfc: true, fields: []string{"Forwarded: for=203.0.113.9;for=6.6.6.6"}, client: peer, chain: peer},
		{name: "Forwarded with proto twice", rfc: true, fields: []string{"Forwarded: for=203.0.113.9;proto=http;proto=https"}, client: peer, chain: peer},
		{name: "Forwarded, a quote left open by a stranger", rfc: true, fields: []string{`Forwarded: for="6.6.6.6, for=203.0.113.9`}, client: "203.0.113.9"},
		{name: "Forwarded, a stranger's quote closed by the proxy's", rfc: true, fields: []string{`Forwarded: for=6.6.6.6;x=", for="[2001:db8::7]";proto=https`}, client: "2001:db8::7", secure: true},
		{name: "Forwarded, an escape before the proxy's quote", rfc: true, fields: []string{`Forwarded: for="10.0.0.5\, for="[2001:db8::7]"`}, client: "2001:db8::7"},
		{name: "Forwarded, elements within quotes", rfc: true, fields: []string{`Forwarded: for=203.0.113.9;host="x, for=6.6.6.6"`}, client: "203.0.113.9"},
		{name: "Forwarded, elements within quotes and escapes", rfc: true, fields: []string{`Forwarded: for=203.0.113.9;host="x\", for=6.6.6.6"`}, client: "203.0.113.9"},
		{name: "Forwarded, a quote around what looks like an element", rfc: true, fields: []string{`Forwarded: for=203.0.113.9;host="x, for=10.0.0.5;a="`}, client: "203.0.113.9"},
		{name: "Forwarded, a quote that is not opened", rfc: true, fields: []string{`Forwarded: for=203.0.113.9, for=10.0.0.5"`}, client: peer, chain: peer},
		{name: "Forwarded, an escaped address", rfc: true, fields: []string{`Forwarded: for="\203.0.113.9"`}, client: peer, chain: peer},
		{name: "Forwarded, an empty element", rfc: true, fields: []string{"Forwarded: for=203.0.113.9,"}, client: peer, chain: peer},
		{name: "Forwarded, a semicolon at the end", rfc: true, fields: []string{"Forwarded: for=203.0.113.9;"}, client: peer, chain: peer},
		{name: "Forwarded, a list without for", rfc: true, fields: []string{"Forwarded: 203.0.113.9"}, client: peer, chain: peer},
		{name: "Forwarded, beside the other family", rfc: true, fields: []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example"}, client: peer, chain: peer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := asked(peer, front(c.rfc), c.fields...)
			whoAsks(x)
			if c.chain == "" {
				c.chain = c.client + ", " + peer
			}
			if x.Client.String() != c.client || string(x.ForwardedFor) != c.chain || x.Secure != c.secure || string(x.ForwardedHost) != c.host {
				t.Errorf("client %v, chain %q, secure %v, host %q", x.Client, x.ForwardedFor, x.Secure, x.ForwardedHost)
			}
		})
	}
}

func TestAProxySpeaksForTheClientsSideOnly(t *testing.T) {
	t.Parallel()
	for words, secure := range map[string]bool{"X-Forwarded-Proto: http": false, "X-Forwarded-Proto: https": true, "X-Forwarded-Proto: ?": false, "Accept: x": true} {
		x := asked("10.0.0.9", front(false), words)
		x.Conn.TLS = &tls.ConnectionState{}
		if whoAsks(x); x.Secure != secure {
			t.Errorf("%s over TLS from the proxy: secure %v", words, x.Secure)
		}
	}
}

// forwardingNames are the fields that say who asks, and their relatives.
var forwardingNames = []string{"X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "True-Client-IP", "Via", "X-Forwarded-Port"}

func TestWithoutTrustedProxiesNoFieldChangesTheClient(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.SampledFrom([]string{"10.0.0.1", "for=10.0.0.1;proto=https;host=x", "https", "127.0.0.1, 10.0.0.9", "api.example.com"}), rapid.StringMatching(`[ -~]{0,40}`))
		var fields []string
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			fields = append(fields, rapid.SampledFrom(forwardingNames).Draw(t, "name")+": "+value.Draw(t, "value"))
		}
		// Others may be trusted: this peer is not.
		trusts := rapid.SampledFrom([]*exchange.Front{nil, {}, front(false), front(true)}).Draw(t, "front")
		x := asked("203.0.113.77", trusts, fields...)
		if rapid.Bool().Draw(t, "tls") {
			x.Conn.TLS = &tls.ConnectionState{}
		}
		whoAsks(x)
		if x.Client != x.Conn.Peer.Addr() || x.Secure != (x.Conn.TLS != nil) || x.ForwardedFor != nil || x.ForwardedHost != nil {
			t.Fatalf("client %v, secure %v, chain %q, host %q", x.Client, x.Secure, x.ForwardedFor, x.ForwardedHost)
		}
	})
}

// FuzzWalk: whatever stands left of what the proxies wrote, the client is the
// one that they wrote.
func FuzzWalk(f *testing.F) {
	for _, left := range []string{"", "6.6.6.6", "6.6.6.6, ", `for="6.6.6.6`, `for=x;y="\`, `", for=10.0.0.1`, "[::1", "1.2.3.4:5,", `\"`} {
		f.Add(left)
	}
	f.Fuzz(func(t *testing.T, left string) {
		for _, apart := range []bool{false, true} {
			for _, c := range []struct{ name, right string }{
				{"X-Forwarded-For: ", "203.0.113.9, 10.0.0.5"},
				{"Forwarded: ", `for="203.0.113.9:80";host="a,b", for=10.0.0.5;proto=https`},
			} {
				fields := []string{c.name + left + ", " + c.right}
				if apart {
					fields = []string{c.name + left, c.name + c.right}
				}
				x := asked("10.0.0.9", front(c.name == "Forwarded: "), fields...)
				whoAsks(x)
				if x.Client.String() != "203.0.113.9" || string(x.ForwardedFor) != "203.0.113.9, 10.0.0.5, 10.0.0.9" {
					t.Errorf("%q: client %v, chain %q", fields, x.Client, x.ForwardedFor)
				}
			}
		}
		// And by itself it is read without harm: addresses as netip reads them.
		for _, rfc := range []bool{false, true} {
			x := asked("10.0.0.9", front(rfc), "X-Forwarded-For: "+left, "Forwarded: "+left)
			whoAsks(x)
			if !x.Client.IsValid() || x.Client.Zone() != "" || x.Client.Is4In6() {
				t.Errorf("client %v", x.Client)
			}
		}
		own, ok := parseIPv4([]byte(left))
		std, err := netip.ParseAddr(left)
		if ok != (err == nil && std.Is4()) || ok && own != std {
			t.Errorf("%q: %v %v, netip says %v %v", left, own, ok, std, err)
		}
	})
}

func TestTheWalkAllocatesNothing(t *testing.T) {
	x := asked("10.0.0.9", front(false), "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.5", "X-Forwarded-Proto: https", "X-Forwarded-Host: api.example.com")
	fields := x.Req.Fields
	n := testing.AllocsPerRun(100, func() {
		whoAsks(x)
		x.Reset()
		x.Req.Fields = fields
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
