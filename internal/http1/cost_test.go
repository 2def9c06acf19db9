package http1_test

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

// ready is a peer that has said its part before anybody waits for it, without a
// system call: what is left is what the engine costs by itself.
type ready struct {
	say    []byte
	left   int
	answer bool // speaks when spoken to
	due    bool
	closed chan struct{}
	quiet  syscall.Conn
}

func (p *ready) SyscallConn() (syscall.RawConn, error) { return p.quiet.SyscallConn() }

func (p *ready) Read(b []byte) (int, error) {
	if p.answer {
		if !p.due {
			<-p.closed
			return 0, io.EOF
		}
		p.due = false
		return copy(b, p.say), nil
	}
	if p.left == 0 {
		return 0, io.EOF
	}
	p.left--
	return copy(b, p.say), nil
}
func (p *ready) Write(b []byte) (int, error)      { p.due = true; return len(b), nil }
func (p *ready) Close() error                     { return nil }
func (p *ready) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *ready) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (p *ready) SetDeadline(time.Time) error      { return nil }
func (p *ready) SetReadDeadline(time.Time) error  { return nil }
func (p *ready) SetWriteDeadline(time.Time) error { return nil }

type straight struct{ pool *http1.Pool }

func (p *straight) Serve(x *exchange.Exchange, sink exchange.Sink) {
	if err := p.pool.Do(x, http1.Timeouts{Connect: time.Second, FirstByte: time.Second, Idle: time.Second}, http1.Target{}); err != nil {
		panic(err)
	}
	b, ok := x.RespBody.Replay()
	if !ok {
		panic("no replay")
	}
	sink.Head(&x.Resp, &x.RespEdit, x.Resp.Length, b)
	sink.Finish(nil)
	x.RespBody.Close()
}
func (p *straight) Reject(x *exchange.Exchange, sink exchange.Sink, f *fault.Error) { panic(f) }

func BenchmarkWithoutSockets(b *testing.B) {
	body := make([]byte, 1024)
	for i := range body {
		body[i] = 'x'
	}
	ln, _ := net.Listen("tcp", "127.0.0.1:0")
	defer ln.Close()
	q, _ := net.Dial("tcp", ln.Addr().String())
	defer q.Close()
	up := &ready{quiet: q.(*net.TCPConn), answer: true, closed: make(chan struct{}), say: append([]byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 06:31:33 GMT\r\nContent-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\n\r\n"), body...)}
	p := &straight{http1.NewPool(http1.PoolConfig{Address: "a:1", Dial: func(context.Context, string) (net.Conn, error) { return up, nil }})}
	defer p.pool.Close()
	s := http1.NewServer(p, http1.Limits{})
	defer s.Close(nil)
	c := &ready{quiet: q.(*net.TCPConn), left: b.N, say: []byte("GET /orders/1 HTTP/1.1\r\nHost: 127.0.0.1:19003\r\n\r\n")}
	b.ReportAllocs()
	b.ResetTimer()
	s.ServeConn(c, &exchange.Conn{})
}
