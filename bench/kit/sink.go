//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
)

// sink answers a POST with the number of bytes it brought, /stub with what it
// counted, as nginx's stub_status does, and everything else with a body.
type sink struct {
	body                  []byte
	connections, requests atomic.Int64
}

func newSink(body []byte) *sink { return &sink{body: body} }

func runSink(args []string) error {
	f := flag.NewFlagSet("sink", flag.ExitOnError)
	address := f.String("address", "", "to listen on")
	file := f.String("body", "", "file with the answer to a GET")
	_ = f.Parse(args) // it exits
	body, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	s := newSink(body)
	return (&http.Server{Addr: *address, Handler: s, ConnState: stateCounter(&s.connections)}).ListenAndServe()
}

// stateCounter counts new connections.
func stateCounter(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requests := s.requests.Add(1)
	switch {
	case r.URL.Path == "/stub":
		n := s.connections.Load()
		fmt.Fprintf(w, "Active connections: 1\nserver accepts handled requests\n %d %d %d\n", n, n, requests)
	case r.Method == http.MethodPost:
		sum, p := 0, make([]byte, 256<<10)
		for {
			n, err := r.Body.Read(p)
			sum += n
			if err == io.EOF {
				break
			}
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		fmt.Fprint(w, sum)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(s.body)))
		_, _ = w.Write(s.body) // who asked has gone, if it fails
	}
}
