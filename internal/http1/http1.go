// Package http1 is the HTTP/1.1 engine, both sides: strict head and body
// codecs, the loop that serves client connections, and the pool of upstream
// connections (RFC 9110, RFC 9112).
//
// Two rules shape it. It fails closed: whatever two parsers could read in two
// ways is refused, in requests and in responses. And nothing is forwarded as
// received: heads are parsed into an exchange.Head and written anew from its
// fields, bodies are decoded and framed again.
//
// A connection has one goroutine. Timers are not set per request: every
// connection carries its deadlines as atomic stamps, and one sweeper looks at
// all of them ten times a second. On a warm connection an exchange allocates
// nothing.
package http1

import "time"

// Limits bound what a client may do. A zero field means its default, never
// "unlimited".
//
// A request body that takes longer than BodyTimeout in all must come at 500
// bytes a second on average, or be refused with request_timeout. Only time in
// which the body was waited for counts, to a tenth of a second; bytes are
// those on the connection, decrypted, with the framing of chunks.
type Limits struct {
	HeaderSize    int           // bytes of a request head; default 16 KiB, at most 32 KiB
	Headers       int           // fields of a request head; default 100, at most 1000
	HeaderTimeout time.Duration // from a head's first byte (of a connection's first head: from its start) to its end; default 5s
	IdleTimeout   time.Duration // between two requests; default 60s
	BodyTimeout   time.Duration // within which each KiB of a request body must come, while it is read; default 30s
	WriteTimeout  time.Duration // within which the client must take what one write sends; default 30s
	Connections   int           // open at once; more are closed at once; default 10000
}

const (
	maxHeaderSize = 32 << 10
	maxHeaders    = 1000
)

func (l Limits) withDefaults() Limits {
	if l.HeaderSize <= 0 {
		l.HeaderSize = 16 << 10
	}
	l.HeaderSize = min(l.HeaderSize, maxHeaderSize)
	if l.Headers <= 0 {
		l.Headers = 100
	}
	l.Headers = min(l.Headers, maxHeaders)
	if l.Connections <= 0 {
		l.Connections = 10000
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&l.HeaderTimeout, 5 * time.Second}, {&l.IdleTimeout, time.Minute}, {&l.BodyTimeout, 30 * time.Second}, {&l.WriteTimeout, 30 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return l
}
