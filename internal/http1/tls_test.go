package http1_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

func TestTLSOnBothSides(t *testing.T) {
	t.Parallel()
	var opened atomic.Int64
	up := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	up.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	up.StartTLS()
	t.Cleanup(up.Close)
	roots := x509.NewCertPool()
	roots.AddCert(up.Certificate())
	p := &proxy{}
	p.pool = http1.NewPool(http1.PoolConfig{
		Address: up.Listener.Addr().String(),
		TLS:     &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12},
	})
	srv := http1.NewServer(p, http1.Limits{})
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: up.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		if c.(*tls.Conn).Handshake() != nil {
			return
		}
		srv.ServeConn(c, &exchange.Conn{})
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := newClient(t, conn)
	for _, n := range []int{0, 10, 100000} {
		body := strings.Repeat("x", n)
		go io.WriteString(c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", n, body))
		if res, got := c.response("POST"); res.StatusCode != 200 || got != body {
			t.Fatalf("%v", res)
		}
	}
	c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	c.response("GET")
	if _, err := c.in.ReadByte(); err != io.EOF {
		t.Errorf("the end was not announced: %v", err)
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections to the upstream", n)
	}
	c.Close()
	<-served
	ln.Close()
	srv.Close(io.EOF)
	p.pool.Close()
}

func TestAnUpstreamWithAStrangersCertificateIsNotSpokenTo(t *testing.T) {
	t.Parallel()
	up := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	up.Config.ErrorLog = log.New(io.Discard, "", 0)
	up.StartTLS()
	t.Cleanup(up.Close)
	p := &proxy{}
	r := start(t, p, "", http1.Limits{})
	r.pool.Close()
	p.pool = http1.NewPool(http1.PoolConfig{Address: up.Listener.Addr().String(), TLS: &tls.Config{ServerName: "example.com", RootCAs: x509.NewCertPool()}})
	c := r.dial(t)
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if res, body := c.response("GET"); res.StatusCode != 502 || body != "upstream_unreachable\n" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

func TestAcceptJudgesHeadsOfOtherProtocols(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, target, host string
		fields                     []string
		code                       fault.Code
	}{
		{"a plain one", "GET", "/a?b", "H.example:443", []string{"X-A", "b"}, fault.None},
		{"a bad host", "GET", "/", "h/x", nil, fault.RequestMalformed},
		{"two hosts", "GET", "/", "h", []string{"Host", "i"}, fault.RequestMalformed},
		{"a relative target", "GET", "a", "h", nil, fault.RequestMalformed},
		{"CONNECT", "CONNECT", "h:443", "h", nil, fault.RequestMalformed},
		{"CRLF in a value", "GET", "/", "h", []string{"X-A", "b\r\nX: y"}, fault.RequestMalformed},
		{"CRLF in a target", "GET", "/ HTTP/1.1\r\nX: y", "h", nil, fault.RequestMalformed},
		{"a space in a name", "GET", "/", "h", []string{"X A", "b"}, fault.RequestMalformed},
		{"an expectation", "GET", "/", "h", []string{"Expect", "x"}, fault.ExpectationFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := exchange.Head{Method: []byte(tt.method), Target: []byte(tt.target), Major: 2, Length: -1}
			q.Fields = append(q.Fields, exchange.Field{Name: []byte("Host"), Value: []byte(tt.host)})
			for i := 0; i < len(tt.fields); i += 2 {
				q.Fields = append(q.Fields, exchange.Field{Name: []byte(tt.fields[i]), Value: []byte(tt.fields[i+1])})
			}
			f := http1.Accept(&q)
			if f == nil != (tt.code == fault.None) || f != nil && f.Code != tt.code {
				t.Fatalf("got %v; want %v", f, tt.code)
			}
			if f == nil && (string(q.Host) != "h.example" || string(q.Path) != "/a" || string(q.Query) != "b" || !q.HasQuery || q.Length != -1) {
				t.Errorf("%q %q %q %d", q.Host, q.Path, q.Query, q.Length)
			}
		})
	}
}
