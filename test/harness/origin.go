package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Origin is a backend that trusts nobody's parser: it takes the bytes of its
// connections apart itself, strictly, and keeps every request that was whole.
// Everything is answered 200; a path that ends in BigPath with BigSize bytes;
// one that ends in StallPath never.
type Origin struct {
	URL string

	mu    sync.Mutex
	whole []string
	torn  []string
	open  map[net.Conn]bool
	count int
	peak  int
}

// StallPath is of a request that waits until its connection ends.
const StallPath = "/stall"

// BigPath and BigSize are of an answer that fills every buffer on the way.
const (
	BigPath = "/big"
	BigSize = 4 << 20
)

var bigBody = strings.Repeat("0123456789abcdef", BigSize/16)

// StartOrigin starts an origin on a free port.
func StartOrigin(t testing.TB) *Origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &Origin{URL: "http://" + l.Addr().String(), open: map[net.Conn]bool{}}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.mu.Lock()
			o.open[c] = true
			o.peak = max(o.peak, len(o.open))
			o.mu.Unlock()
			conns.Go(func() { o.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		o.mu.Lock()
		for c := range o.open {
			c.Close()
		}
		o.mu.Unlock()
		conns.Wait()
	})
	return o
}

// Take returns the whole requests that came since it was called last, in the
// order in which they were whole. Each is its line and fields with | between,
// and its decoded body behind ||. Fields that the gateway says of itself and
// of the client are left out.
func (o *Origin) Take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	whole := o.whole
	o.whole = nil
	return whole
}

// Torn returns the beginnings of requests that were never whole, since it was
// called last.
func (o *Origin) Torn() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	torn := o.torn
	o.torn = nil
	return torn
}

// Count returns how many whole requests came since the start.
func (o *Origin) Count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count
}

// Peak returns how many connections were open at the same time, at most, since
// it was called last.
func (o *Origin) Peak() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	peak := o.peak
	o.peak = len(o.open)
	return peak
}

func (o *Origin) serve(c net.Conn) {
	defer func() {
		c.Close()
		o.mu.Lock()
		delete(o.open, c)
		o.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for {
		m := arriving{in: in}
		err := m.read()
		o.mu.Lock()
		if err == nil {
			o.count++
			o.whole = append(o.whole, m.text())
		} else if m.seen.Len() > 0 {
			o.torn = append(o.torn, fmt.Sprintf("%q: %v", m.seen.String(), err))
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
		if strings.HasSuffix(m.path(), StallPath) {
			io.Copy(io.Discard, in)
			return
		}
		head, body := m.answer()
		if _, err := io.WriteString(c, head); err != nil {
			return
		}
		if _, err := io.WriteString(c, body); err != nil {
			return
		}
	}
}

// arriving is one request while it is read.
type arriving struct {
	in     *bufio.Reader
	seen   strings.Builder
	line   string
	fields []string
	body   string
}

var errTorn = errors.New("not well-formed")

// nextLine returns a line without its CRLF.
func (m *arriving) nextLine() (string, error) {
	line, err := m.in.ReadString('\n')
	m.seen.WriteString(line)
	if err != nil {
		return "", err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		return "", errTorn
	}
	return line, nil
}

func (m *arriving) bytes(n int64) (string, error) {
	b := make([]byte, n)
	k, err := io.ReadFull(m.in, b)
	m.seen.Write(b[:k])
	return string(b[:k]), err
}

func (m *arriving) read() (err error) {
	if m.line, err = m.nextLine(); err != nil {
		return err
	}
	if parts := strings.Split(m.line, " "); len(parts) != 3 || parts[2] != "HTTP/1.1" {
		return errTorn
	}
	length, chunked := int64(-1), false
	for {
		field, err := m.nextLine()
		if err != nil {
			return err
		}
		if field == "" {
			break
		}
		name, value, ok := strings.Cut(field, ": ")
		if !ok || strings.ContainsAny(name, " \t") {
			return errTorn
		}
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil || length >= 0 || chunked {
				return errTorn
			}
			length = n
		case "transfer-encoding":
			if value != "chunked" || length >= 0 || chunked {
				return errTorn
			}
			chunked = true
		}
		m.fields = append(m.fields, field)
	}
	if chunked {
		return m.readChunks()
	}
	m.body, err = m.bytes(max(0, length))
	return err
}

func (m *arriving) readChunks() error {
	for {
		line, err := m.nextLine()
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(line, 16, 32)
		if err != nil {
			return errTorn
		}
		data, err := m.bytes(size)
		if err != nil {
			return err
		}
		m.body += data
		if end, err := m.nextLine(); err != nil || end != "" { // a trailer is none of ours
			return errors.Join(err, errTorn)
		}
		if size == 0 {
			return nil
		}
	}
}

// said are the fields that the gateway adds to whatever it forwards.
var said = []string{"x-request-id", "traceparent", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "accept-encoding", "user-agent"}

func (m *arriving) text() string {
	parts := []string{m.line}
	for _, f := range m.fields {
		if name, _, _ := strings.Cut(f, ":"); !slices.Contains(said, strings.ToLower(name)) {
			parts = append(parts, f)
		}
	}
	return strings.Join(parts, "|") + "||" + m.body
}

func (m *arriving) path() string { return strings.Split(m.line, " ")[1] }

func (m *arriving) answer() (head, body string) {
	body = "ok"
	if strings.HasSuffix(m.path(), BigPath) {
		body = bigBody
	}
	head = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body))
	if strings.HasPrefix(m.line, "HEAD ") {
		return head, ""
	}
	if len(body) < 100 { // one write, one packet
		return head + body, ""
	}
	return head, body
}
