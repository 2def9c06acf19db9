//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// loader sends one kind of load and counts what came back.
type loader struct {
	address, host, path string
	tls                 *tls.Config // nil: plain
	connections         int
	length              time.Duration
	rate                float64 // requests per second; paced only
	size                int     // bytes of a body; up and down only

	next      atomic.Int64 // connections dialled
	mu        sync.Mutex
	out       outcome
	latencies []time.Duration
	held      []*conn // idle
	first     error
}

// outcome is what the load saw, in the words of cfg/wrk.lua.
type outcome struct {
	Requests     int   `json:"requests"`
	Micros       int64 `json:"micros"`
	Bytes        int   `json:"bytes"` // of bodies of size, either way
	StatusErrors int   `json:"statusErrors"`
	SocketErrors int   `json:"socketErrors"`
	P50          int64 `json:"p50"`
	P99          int64 `json:"p99"`
}

var errStatus = errors.New("an answer that is not the expected one")

func runLoad(args []string) error {
	l := &loader{}
	kinds := map[string]func(*loader, time.Time){"new": (*loader).fresh, "down": (*loader).down, "up": (*loader).up, "paced": (*loader).paced, "idle": (*loader).idle}
	f := flag.NewFlagSet("load", flag.ExitOnError)
	kind := f.String("kind", "", "new: a connection per request; down, up: large bodies; paced: at a rate; idle: one request on each connection, then nothing until stdin ends")
	target := f.String("url", "", "what to ask for")
	ca := f.String("ca", "", "PEM file of the certificate to trust")
	f.IntVar(&l.connections, "connections", 64, "at a time")
	f.DurationVar(&l.length, "length", time.Second, "no request but the first of a connection begins later than this")
	f.Float64Var(&l.rate, "rate", 0, "requests per second of paced")
	f.IntVar(&l.size, "size", 0, "bytes of a body of up and down")
	_ = f.Parse(args) // it exits
	u, err := url.Parse(*target)
	if err != nil {
		return err
	}
	if kinds[*kind] == nil || u.Port() == "" {
		return errors.New("it needs -kind and a -url with a port")
	}
	l.address, l.host, l.path = u.Host, u.Host, u.RequestURI()
	if u.Scheme == "https" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		// One group for all proxies, that each of them has.
		l.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, ServerName: u.Hostname()}
	}
	begin := time.Now()
	kinds[*kind](l, begin)
	l.out.Micros = time.Since(begin).Microseconds()
	slices.Sort(l.latencies)
	if n := len(l.latencies); n > 0 {
		l.out.P50, l.out.P99 = l.latencies[n/2].Microseconds(), l.latencies[n*99/100].Microseconds()
	}
	if l.first != nil {
		fmt.Fprintln(os.Stderr, "the first error:", l.first)
	}
	line, err := json.Marshal(l.out)
	if err != nil {
		return err
	}
	fmt.Printf("\n@%s\n", line)
	if *kind == "idle" {
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	return err
}

// count records one exchange.
func (l *loader) count(took time.Duration, bytes int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.out.Requests++
		l.out.Bytes += bytes
		l.latencies = append(l.latencies, took)
		return
	case errors.Is(err, errStatus):
		l.out.Requests++
		l.out.StatusErrors++
	default:
		l.out.SocketErrors++
	}
	if l.first == nil {
		l.first = err
	}
}

// conn is a client's connection.
type conn struct {
	net.Conn
	r *bufio.Reader
}

// dial connects, from one of several loopback addresses, so that ports last.
func (l *loader) dial() (*conn, error) {
	const noPort = 24 // IP_BIND_ADDRESS_NO_PORT: the port is chosen when it connects
	d := net.Dialer{
		Timeout:   10 * time.Second,
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+l.next.Add(1)%8))},
		Control: func(_, _ string, c syscall.RawConn) error {
			var set error
			err := c.Control(func(fd uintptr) {
				set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, noPort, 1)
			})
			return errors.Join(err, set)
		},
	}
	c, err := d.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	if l.tls != nil {
		t := tls.Client(c, l.tls)
		_ = t.SetDeadline(time.Now().Add(10 * time.Second)) // it is open
		if err := t.Handshake(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c = t
	}
	return &conn{c, bufio.NewReaderSize(c, 4<<10)}, nil
}

// head returns a request without a body, or with one of l.size.
func (l *loader) head(method, more string) []byte {
	return []byte(method + " " + l.path + " HTTP/1.1\r\nHost: " + l.host + "\r\n" + more + "\r\n")
}

// ask sends what was written down before and reads the answer.
func (c *conn) ask(head []byte) (body int, err error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // it is open
	if _, err := c.Write(head); err != nil {
		return 0, err
	}
	return c.short()
}

// short reads an answer with a Content-Length and passes its body over. It
// allocates nothing: a load that collects garbage would see its own pauses.
func (c *conn) short() (body int, err error) {
	status, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	if !ok {
		err = fmt.Errorf("%w: %s", errStatus, bytes.TrimSpace(status))
	}
	length := -1
	for {
		line, wrong := c.r.ReadSlice('\n')
		if wrong != nil {
			return 0, wrong
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			length = 0
			for _, digit := range bytes.TrimSpace(line[len(name):]) {
				length = 10*length + int(digit-'0')
			}
		}
	}
	if length < 0 || length > 1<<20 {
		return 0, errors.New("an answer without a length, or of more than 1 MiB")
	}
	body, wrong := c.r.Discard(length)
	return body, errors.Join(err, wrong)
}

// answer reads an answer, its body to w.
func (c *conn) answer(w io.Writer) (body int, err error) {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: status %d", errStatus, res.StatusCode)
	}
	return int(n), err
}

// each runs work on as many goroutines as there are connections.
func (l *loader) each(work func(i int)) {
	var wait sync.WaitGroup
	for i := range l.connections {
		wait.Go(func() { work(i) })
	}
	wait.Wait()
}

// fresh makes a connection for every request.
func (l *loader) fresh(begin time.Time) {
	head := l.head("GET", "Connection: close\r\n")
	l.each(func(int) {
		for more := true; more; more = time.Since(begin) < l.length {
			at := time.Now()
			c, err := l.dial()
			if err == nil {
				_, err = c.ask(head)
				_ = c.Close() // it said close
			}
			l.count(time.Since(at), 0, err)
		}
	})
}

// kept runs exchange on connections that are kept, until the time is over.
func (l *loader) kept(begin time.Time, exchange func(*conn) error) {
	l.each(func(int) {
		c, err := l.dial()
		if err != nil {
			l.count(0, 0, err)
			return
		}
		defer c.Close()
		for more := true; more; more = time.Since(begin) < l.length {
			at := time.Now()
			err := exchange(c)
			l.count(time.Since(at), l.size, err)
			if err != nil {
				return
			}
		}
	})
}

// down asks for a large body.
func (l *loader) down(begin time.Time) {
	head := l.head("GET", "")
	l.kept(begin, func(c *conn) error {
		_ = c.SetDeadline(time.Now().Add(time.Minute)) // it is open
		if _, err := c.Write(head); err != nil {
			return err
		}
		n, err := c.answer(io.Discard)
		if err == nil && n != l.size {
			err = fmt.Errorf("%w: %d bytes", errStatus, n)
		}
		return err
	})
}

// up sends a large body; the backend says how much of it came.
func (l *loader) up(begin time.Time) {
	head := l.head("POST", fmt.Sprintf("Content-Length: %d\r\n", l.size))
	piece := make([]byte, 256<<10)
	l.kept(begin, func(c *conn) error {
		_ = c.SetDeadline(time.Now().Add(time.Minute)) // it is open
		if _, err := c.Write(head); err != nil {
			return err
		}
		for left := l.size; left > 0; {
			n, err := c.Write(piece[:min(left, len(piece))])
			if err != nil {
				return err
			}
			left -= n
		}
		var said answerText
		_, err := c.answer(&said)
		if err == nil && string(said) != strconv.Itoa(l.size) {
			err = fmt.Errorf("%w: the backend got %q", errStatus, said)
		}
		return err
	})
}

// answerText is a short body.
type answerText []byte

func (a *answerText) Write(p []byte) (int, error) {
	*a = append(*a, p[:min(len(p), 100)]...)
	return len(p), nil
}

// paced asks at times set before, whatever the answers do: a request that had
// to wait for the one before it took as long as from its own time. One that
// this program was late to send counts from when it was sent.
func (l *loader) paced(begin time.Time) {
	head := l.head("GET", "")
	step := time.Duration(float64(time.Second) * float64(l.connections) / l.rate)
	l.each(func(i int) {
		c, err := l.dial()
		if err != nil {
			l.count(0, 0, err)
			return
		}
		defer c.Close()
		due := begin.Add(step * time.Duration(i) / time.Duration(l.connections))
		for ; due.Sub(begin) < l.length; due = due.Add(step) {
			at := due
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
				at = time.Now()
			}
			_, err := c.ask(head)
			l.count(time.Since(at), 0, err)
			if err != nil {
				return
			}
		}
	})
}

// idle makes one request on each connection, 64 at a time, and keeps them all.
func (l *loader) idle(time.Time) {
	head := l.head("GET", "")
	var wait sync.WaitGroup
	for i := range 64 {
		wait.Go(func() {
			for n := i; n < l.connections; n += 64 {
				at := time.Now()
				c, err := l.dial()
				if err == nil {
					_, err = c.ask(head)
					l.keep(c)
				}
				l.count(time.Since(at), 0, err)
			}
		})
	}
	wait.Wait()
}

// keep holds a connection: one that nobody holds would be closed.
func (l *loader) keep(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, c)
}
