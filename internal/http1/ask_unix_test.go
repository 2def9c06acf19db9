//go:build unix

package http1

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// A request is sent whole also if the socket does not take it at once, and
// one that is not sent whole is not waited for.
func TestAskingInParts(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	p := NewPool(PoolConfig{})
	u := newUpstreamConn(p, ours)
	if !p.sweeper.add(u) {
		t.Fatal("not swept")
	}
	defer u.close()
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB, more than a socket takes
	sent, loud, buf, n := u.asker.ask(large, true)
	if sent == 0 || sent == len(large) || loud || buf != nil || n != 0 {
		t.Fatalf("%d of %d sent, loud %v, %d bytes came", sent, len(large), loud, n)
	}
	got := make(chan []byte)
	go func() {
		b := make([]byte, sent+len(large))
		io.ReadFull(theirs, b)
		got <- b
	}()
	if n, err := u.send(large, true, time.Minute); n != len(large) || err != nil {
		t.Fatalf("%d of %d sent: %v", n, len(large), err)
	}
	if b := <-got; !bytes.Equal(b[:sent], large[:sent]) || !bytes.Equal(b[sent:], large) {
		t.Error("it was not sent in order")
	}
	if v := u.awaiting.v.Load(); v <= 0 {
		t.Errorf("the answer is not awaited: %d", v)
	}
}
