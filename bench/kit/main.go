//go:build linux

// Command kit is what the rig needs beside the proxies, each in a process of
// its own so that its CPU time is nobody else's:
//
//	kit load    a load that wrk and h2load cannot make
//	kit proxy   net/http with httputil.ReverseProxy, a peer for HTTP/2
//	kit sink    a backend that reads bodies to their end
package main

import (
	"fmt"
	"os"
)

func main() {
	parts := map[string]func([]string) error{"load": runLoad, "proxy": runProxy, "sink": runSink}
	if len(os.Args) < 2 || parts[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: kit load|proxy|sink [flags]")
		os.Exit(2)
	}
	if err := parts[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "kit %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
