package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
)

// mirror is a route to a backend that answers with what it was told of the
// client.
func mirror(t *testing.T) string {
	return backend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "for=%s proto=%s host=%s forwarded=%s real=%s|", strings.Join(r.Header.Values("X-Forwarded-For"), "+"),
			r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"), r.Header.Get("Forwarded"), r.Header.Get("X-Real-Ip"))
	})
}

// serveThrough loads one listener before mirror and returns its address on
// loopback; words stand behind the listener's address.
func (h *house) serveThrough(address, words, routes string) string {
	h.t.Helper()
	if err := h.load(through(`{ name: one, address: "`+address+`"`+words+` }`, routes)); err != nil {
		h.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(h.Addresses()["one"])
	return "127.0.0.1:" + port
}

// dialFrom is dial from another address of this machine.
func dialFrom(t *testing.T, from, address string) *conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", address)
	if err != nil {
		t.Skip("this machine has one loopback address only: ", err)
	}
	return talk(t, c)
}

func (c *conn) expect(what, path, want string, fields ...string) exchange.RequestID {
	c.t.Helper()
	status, header, body := c.ask("GET", path, fields...)
	if body, _, _ = strings.Cut(body, "|"); status != 200 || body != want {
		c.t.Errorf("%s: %d %s\nwant %s", what, status, body, want)
	}
	id, _ := exchange.ParseRequestID(header.Get("X-Request-Id"))
	return id
}

func TestForwardedFieldsCountFromTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	address := h.serveThrough("127.0.0.1:0", ", trustedProxies: [127.0.0.1/32, 10.0.0.0/24]", mirror(t))
	spoof := []string{"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.9, 10.0.0.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: api.example.com", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6"}
	proxy := dial(t, address)
	proxy.expect("a trusted proxy", "/x", "for=203.0.113.9, 10.0.0.7, 127.0.0.1 proto=https host=api.example.com forwarded= real=", spoof...)
	proxy.expect("the next client of the same connection", "/x", "for=203.0.113.10, 127.0.0.1 proto=http host=local forwarded= real=", "X-Forwarded-For: 203.0.113.10")
	proxy.expect("a proxy that says nothing", "/x", "for=127.0.0.1 proto=http host=local forwarded= real=", "Forwarded: for=6.6.6.6;proto=https;host=evil")
	id := dialFrom(t, "127.0.0.2", address).expect("a stranger", "/x", "for=127.0.0.2 proto=http host=local forwarded= real=", spoof...)
	if rec := h.recorded(id); rec.Client != netip.MustParseAddr("127.0.0.2") || rec.TLS {
		t.Errorf("the record of the stranger: %v %v", rec.Client, rec.TLS)
	}
}

func TestTheOneFamilyThatIsRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	address := h.serveThrough("127.0.0.1:0", ", trustedProxies: 127.0.0.1/32, forwarded: rfc7239", mirror(t))
	dial(t, address).expect("Forwarded", "/x", "for=2001:db8::7, 127.0.0.1 proto=https host=api.example.com forwarded= real=",
		`Forwarded: for=6.6.6.6, for="[2001:db8::7]:80";proto=https;host=api.example.com`, "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil")
}

func TestTrustIsTakenBackByAReload(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	routes := mirror(t)
	address := h.serveThrough("127.0.0.1:0", ", trustedProxies: 127.0.0.1/32", routes)
	proxy := dial(t, address)
	proxy.expect("before", "/x", "for=203.0.113.9, 127.0.0.1 proto=http host=local forwarded= real=", "X-Forwarded-For: 203.0.113.9")
	h.serveThrough("127.0.0.1:0", "", routes)
	proxy.ended()
	dial(t, address).expect("afterwards", "/x", "for=127.0.0.1 proto=http host=local forwarded= real=", "X-Forwarded-For: 203.0.113.9")
}

// A connection may still be in its handshake when the rules change.
func TestTrustIsTakenBackDuringAHandshake(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"h2", "http/1.1"} {
		h := newHouse(t, nil)
		words, client := certificate(t)
		words += ", limits: { headerTimeout: 1m }" // which is not what ends it
		routes := mirror(t)
		address := h.serveThrough("127.0.0.1:0", words+", trustedProxies: 127.0.0.1/32", routes)
		cfg := client.Transport.(*http.Transport).TLSClientConfig.Clone()
		cfg.NextProtos = []string{protocol}
		cfg.VerifyConnection = func(tls.ConnectionState) error {
			h.serveThrough("127.0.0.1:0", words, routes)
			return nil
		}
		c, err := tls.Dial("tcp", address, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(generous / 2)) // before headerTimeout
		io.WriteString(c, "GET /x HTTP/1.1\r\nHost: local\r\n\r\n")
		if b, err := io.ReadAll(c); len(b) > 0 || os.IsTimeout(err) {
			t.Errorf("%s: the connection goes on: %q %v", protocol, b, err)
		}
	}
}

func TestForwardedOverHTTP2(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	words, client := certificate(t)
	address := h.serveThrough("127.0.0.1:0", words+", trustedProxies: 127.0.0.1/32", mirror(t))
	for proto, want := range map[string]string{"http": "http", "https": "https", "": "https"} {
		req, _ := http.NewRequest("GET", "https://"+address+"/x", nil)
		req.Header["X-Forwarded-For"] = []string{"6.6.6.6", "203.0.113.9"}
		if proto != "" {
			req.Header.Set("X-Forwarded-Proto", proto)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := "for=203.0.113.9, 127.0.0.1 proto=" + want + " host=" + address; resp.ProtoMajor != 2 || !strings.HasPrefix(string(body), want) {
			t.Errorf("%s %s\nwant %s", resp.Proto, body, want)
		}
	}
}

// Over an exposed plain listener, protected routes are for callers of whom a
// trusted proxy says that they came over HTTPS.
func TestTransportInsecureUnlessAProxySaysHTTPS(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	routes := "  - { name: key, path: /key, upstream: c, auth: { apiKey: true } }\n" + mirror(t)
	address := h.serveThrough("0.0.0.0:0", ", tls: none, trustedProxies: 127.0.0.1/32", routes)
	for _, c := range []struct {
		from, path string
		fields     []string
		want       int
		code       string
	}{
		{"127.0.0.1", "/key", []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"}, 401, "credential_missing"},
		{"127.0.0.1", "/key", []string{"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http"}, 403, "transport_insecure"},
		{"127.0.0.1", "/key", []string{"X-Forwarded-Proto: https", "X-Forwarded-Proto: http"}, 403, "transport_insecure"},
		{"127.0.0.1", "/key", []string{"Forwarded: for=203.0.113.9;proto=https"}, 403, "transport_insecure"},
		{"127.0.0.1", "/key", nil, 403, "transport_insecure"},
		{"127.0.0.2", "/key", []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https"}, 403, "transport_insecure"},
		{"127.0.0.2", "/x", nil, 200, "backend"},
	} {
		if status, _, body := dialFrom(t, c.from, address).ask("GET", c.path, c.fields...); status != c.want || !strings.Contains(body, c.code) {
			t.Errorf("%s from %s with %q: %d %s", c.path, c.from, c.fields, status, body)
		}
	}
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	address := h.serveThrough("127.0.0.1:0", "", mirror(t))
	c := dial(t, address)
	c.expect("loopback", "/x", "for=127.0.0.1 proto=http host=local forwarded= real=", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "Forwarded: for=203.0.113.9")
	for _, header := range []string{"PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n", proxyHeader("203.0.113.9")} {
		c := dial(t, address)
		io.WriteString(c, header)
		c.send("GET", "/x")
		if status, _, _ := c.receive("GET"); status != 400 {
			t.Errorf("a PROXY header: %d", status)
		}
		c.ended()
	}
}

// proxyHeader is a header of version 2 for a client over IPv4.
func proxyHeader(client string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), netip.MustParseAddr(client).AsSlice()...)
	b = append(b, 127, 0, 0, 1)
	return string(binary.BigEndian.AppendUint32(b, 4711<<16|80))
}

func TestThePROXYHeaderIsMandatoryFromListedPeers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	// The balancer is trusted with the connection; the proxy behind it, whose
	// address the header has, with fields.
	address := h.serveThrough("127.0.0.1:0", ", proxyProtocol: { from: [127.0.0.1/32] }, trustedProxies: 10.0.0.5/32", mirror(t))
	for _, c := range []struct{ name, header, want string }{
		{"version 1", "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n", "for=203.0.113.9 proto=http"},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "for=2001:db8::7 proto=http"},
		{"version 2", proxyHeader("203.0.113.9"), "for=203.0.113.9 proto=http"},
		{"version 2, of a trusted proxy", proxyHeader("10.0.0.5"), "for=198.51.100.1, 10.0.0.5 proto=https"},
		{"version 2, LOCAL", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "for=127.0.0.1 proto=http"},
		{"nothing", "", ""},
		{"UNKNOWN", "PROXY UNKNOWN\r\n", ""},
		{"version 2, unspecified", "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00", ""},
		{"twice", proxyHeader("203.0.113.9") + proxyHeader("203.0.113.9"), "400"},
	} {
		p := dial(t, address)
		io.WriteString(p, c.header)
		p.send("GET", "/x", "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https")
		switch c.want {
		case "":
			if b, err := io.ReadAll(p.r); len(b) > 0 || os.IsTimeout(err) {
				t.Errorf("%s: %q %v", c.name, b, err)
			}
		case "400":
			if status, _, _ := p.receive("GET"); status != 400 {
				t.Errorf("%s: %d", c.name, status)
			}
		default:
			p.receiveUntil(c.name, c.want+" host=local forwarded= real=")
			p.expect(c.name+", once more", "/x", c.want+" host=local forwarded= real=", "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https")
		}
	}
	eventually(t, "a warning in the log", func() bool { return strings.Contains(h.log.String(), "proxyProtocol.from lists this peer") })
	if n := strings.Count(h.log.String(), "proxyProtocol.from lists this peer"); n != 1 {
		t.Errorf("%d warnings within a minute", n)
	}
	// A peer that is not listed speaks HTTP, and nothing but HTTP.
	stranger := dialFrom(t, "127.0.0.2", address)
	stranger.expect("a stranger", "/x", "for=127.0.0.2 proto=http host=local forwarded= real=")
	stranger = dialFrom(t, "127.0.0.2", address)
	io.WriteString(stranger, proxyHeader("203.0.113.9"))
	stranger.send("GET", "/x")
	if status, _, _ := stranger.receive("GET"); status != 400 {
		t.Errorf("a stranger's PROXY header: %d", status)
	}
}

func (c *conn) receiveUntil(what, want string) {
	c.t.Helper()
	status, _, body := c.receive("GET")
	if body, _, _ = strings.Cut(body, "|"); status != 200 || body != want {
		c.t.Errorf("%s: %d %s\nwant %s", what, status, body, want)
	}
}

func TestASlowPROXYHeaderIsCutOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	address := h.serveThrough("127.0.0.1:0", ", proxyProtocol: { from: [127.0.0.1/32] }", mirror(t))
	good := dial(t, address)
	io.WriteString(good, proxyHeader("203.0.113.9"))
	good.expect("a good header", "/x", "for=203.0.113.9 proto=http host=local forwarded= real=")
	silent, slow, gone := dial(t, address), dial(t, address), dial(t, address)
	io.WriteString(slow, "PROXY TCP4 203.0.113.9 127.0.")
	gone.Close()
	eventually(t, "the connection that was closed is gone", func() bool { return h.Connections() == 3 })
	silent.ended()
	slow.ended()
	good.expect("a good header, a while later", "/x", "for=203.0.113.9 proto=http host=local forwarded= real=")
	good.Close()
	eventually(t, "no connection is left", func() bool { return h.Connections() == 0 })
}

// The header comes before TLS, and before HTTP/2 within it.
func TestThePROXYHeaderComesBeforeTLS(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	words, client := certificate(t)
	address := h.serveThrough("127.0.0.1:0", words+", proxyProtocol: { from: [127.0.0.1/32] }", mirror(t))
	transport := client.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			_, err = io.WriteString(c, proxyHeader("203.0.113.9"))
		}
		return c, err
	}
	for _, major := range []int{2, 1} {
		if major == 1 {
			transport = transport.Clone()
			transport.ForceAttemptHTTP2, transport.TLSClientConfig.NextProtos = false, nil
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetHTTP1(true)
			t.Cleanup(transport.CloseIdleConnections)
			client = &http.Client{Transport: transport, Timeout: generous}
		}
		resp, err := client.Get("https://" + address + "/x")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.ProtoMajor != major || !strings.HasPrefix(string(body), "for=203.0.113.9 proto=https") {
			t.Errorf("%s %s", resp.Proto, body)
		}
	}
}

func TestAListenerThatOnlyRedirects(t *testing.T) {
	t.Parallel()
	h := newHouse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ours") }))
	words, client := certificate(t)
	secure := freePort(t)
	_, port, _ := net.SplitHostPort(secure)
	if err := h.load(through(`{ name: plain, address: "0.0.0.0:0", redirectToHttps: true }, { name: one, address: "`+secure+`"`+words+` }`, "  - { path: /y, upstream: c, auth: { apiKey: true } }\n"+mirror(t))); err != nil {
		t.Fatal(err)
	}
	_, plain, _ := net.SplitHostPort(h.Addresses()["plain"])
	for _, c := range []struct{ method, target, host, location string }{
		{"GET", "/x", "api.example.com", "https://api.example.com:" + port + "/x"},
		{"GET", "/x?a=b&c=%2F", "API.example.com:80", "https://API.example.com:" + port + "/x?a=b&c=%2F"},
		{"POST", "/y", "api.example.com", "https://api.example.com:" + port + "/y"},
		{"DELETE", "/nowhere/%7Eme?", "127.0.0.1:" + plain, "https://127.0.0.1:" + port + "/nowhere/~me?"},
		{"HEAD", "/ours", "local", "https://local:" + port + "/ours"},
		{"PROPFIND", "/", "[::1]:8080", "https://[::1]:" + port + "/"},
		{"OPTIONS", "*", "local", "https://local:" + port + "/"},
		{"GET", "//evil.example/a", "local", "https://local:" + port + "//evil.example/a"},
		{"GET", "/../a", "local", ""},
		{"GET", `/\evil`, "local", ""},
		{"GET", "/x", "a b", ""},
		{"GET", "/x", "evil.example/", ""},
		{"GET", "/x", "user@evil.example", ""},
		{"GET", "http://evil.example/x", "local", ""},
	} {
		p := dial(t, "127.0.0.1:"+plain)
		fmt.Fprintf(p, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Proto: https\r\n\r\n", c.method, c.target, c.host)
		status, header, body := p.receive(c.method)
		want := 308
		if c.location == "" {
			want = 400
		}
		if status != want || header.Get("Location") != c.location || want == 308 && body != "" {
			t.Errorf("%s %s of %s: %d to %q %s", c.method, c.target, c.host, status, header.Get("Location"), body)
		}
	}
	p := dial(t, "127.0.0.1:"+plain)
	io.WriteString(p, "GET /x HTTP/1.0\r\n\r\n")
	if status, _, _ := p.receive("GET"); status != 400 {
		t.Errorf("without Host: %d", status)
	}
	resp, err := client.Get("http://127.0.0.1:" + plain + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(body), "proto=https") {
		t.Errorf("who follows the redirect gets %d %s", resp.StatusCode, body)
	}
}

// Behind a real load balancer, connections and requests passed on in each way.
func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	h := newHouse(t, nil)
	words, client := certificate(t)
	routes := mirror(t)
	const from = ", proxyProtocol: { from: [127.0.0.1/32] }"
	if err := h.load(through(`{ name: v1, address: "127.0.0.1:0"`+from+` }, { name: v2, address: "`+freePort(t)+`"`+from+` }, { name: tls, address: "`+freePort(t)+`"`+from+words+` }, { name: http, address: "`+freePort(t)+`", trustedProxies: 127.0.0.1/32 }`, routes)); err != nil {
		t.Fatal(err)
	}
	at := map[string]string{}
	text := "global\n  stats timeout 5s\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
	for name, behind := range map[string]string{"v1": " send-proxy", "v2": " send-proxy-v2", "tls": " send-proxy-v2", "http": ""} {
		at[name] = freePort(t)
		mode := ""
		if name == "http" {
			mode = "  mode http\n  option forwardfor\n  http-request set-header X-Forwarded-Proto https\n"
		}
		check := " check inter 100ms fall 1000" // a check that is late is none that failed
		if behind != "" {
			check += " check-send-proxy"
		}
		text += fmt.Sprintf("listen %s\n%s  bind %s\n  server s %s%s%s\n", name, mode, at[name], h.Addresses()[name], behind, check)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var said lockedBuffer
	cmd := exec.Command(haproxy, "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for name, address := range at {
		eventually(t, "haproxy accepts for "+name+": "+text+said.String(), func() bool {
			c, err := net.Dial("tcp", address)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	const other = "127.0.0.3" // the client's address, another than haproxy's
	for name, want := range map[string]string{
		"v1":   "for=" + other + " proto=http host=local forwarded= real=",
		"v2":   "for=" + other + " proto=http host=local forwarded= real=",
		"http": "for=" + other + ", 127.0.0.1 proto=https host=local forwarded= real=",
	} {
		dialFrom(t, other, at[name]).expect("haproxy, "+name, "/x", want, "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: http")
	}
	client.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(other)}}).DialContext
	resp, err := client.Get("https://" + at["tls"] + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.ProtoMajor != 2 || !strings.HasPrefix(string(body), "for="+other+" proto=https") {
		t.Errorf("haproxy, HTTP/2 within TLS: %s %s", resp.Proto, body)
	}
	if strings.Contains(h.log.String(), "proxyProtocol.from") {
		t.Errorf("haproxy's headers or health checks were refused: %s", h.log)
	}
}
