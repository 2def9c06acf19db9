//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

// runSink answers a POST with the number of bytes it brought, /stub with what
// it counted, as nginx's stub_status does, and everything else with a file.
func runSink(args []string) error {
	f := flag.NewFlagSet("sink", flag.ExitOnError)
	address := f.String("address", "", "to listen on")
	file := f.String("body", "", "file with the answer to a GET")
	_ = f.Parse(args) // it exits
	body, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	var connections, requests atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stub", func(w http.ResponseWriter, _ *http.Request) {
		n := connections.Load()
		fmt.Fprintf(w, "Active connections: 1\nserver accepts handled requests\n %d %d %d\n", n, n, requests.Load())
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		p := make([]byte, 256<<10)
		sum := 0
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
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // who asked has gone, if it fails
	})
	srv := &http.Server{
		Addr: *address,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			mux.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		},
	}
	return srv.ListenAndServe()
}
