//go:build linux

package main

import (
	"flag"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// buffers lends the copies of ReverseProxy their memory.
type buffers struct{ sync.Pool }

func (b *buffers) Get() []byte  { return *b.Pool.Get().(*[]byte) }
func (b *buffers) Put(p []byte) { b.Pool.Put(&p) }

// runProxy serves HTTP/1.1 and HTTP/2 over TLS by the standard library,
// tuned: connections to the backend are kept, buffers are lent, nothing is
// compressed.
func runProxy(args []string) error {
	f := flag.NewFlagSet("proxy", flag.ExitOnError)
	address := f.String("address", "", "to listen on")
	backend := f.String("backend", "", "URL of the backend")
	cert := f.String("cert", "", "PEM file of the certificate")
	key := f.String("key", "", "PEM file of its key")
	_ = f.Parse(args) // it exits
	to, err := url.Parse(*backend)
	if err != nil {
		return err
	}
	pool := &buffers{}
	pool.New = func() any { b := make([]byte, 32<<10); return &b }
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		BufferPool: pool,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			MaxIdleConns:        0,
			MaxIdleConnsPerHost: 4096,
			IdleConnTimeout:     5 * time.Minute,
			DisableCompression:  true,
		},
	}
	srv := &http.Server{Addr: *address, Handler: proxy, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 250}}
	return srv.ListenAndServeTLS(*cert, *key)
}
