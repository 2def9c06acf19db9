package http1_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
)

// sponge reads request bodies, and rests before each piece.
type sponge struct {
	rest time.Duration
	got  int
	err  error
}

func (s *sponge) Serve(x *exchange.Exchange, sink exchange.Sink) {
	for piece := make([]byte, 4<<10); s.err == nil; {
		time.Sleep(s.rest)
		var n int
		n, s.err = x.ReqBody.Read(piece)
		s.got += n
	}
	x.Resp.Reset()
	if x.Resp.Status = 200; s.err != io.EOF {
		x.Resp.Status = fault.Of(s.err).Status()
	}
	if sink.Head(&x.Resp, &x.RespEdit, 0, nil) == nil {
		sink.Finish(nil)
	}
}

func (s *sponge) Reject(*exchange.Exchange, exchange.Sink, *fault.Error) {}

// Time in which nobody reads is the reader's own, and not charged.
func TestABodyMustComeAtALeastRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		length int
		piece  int // bytes sent at a time
		every  time.Duration
		rest   time.Duration // of the reader
		status int
		within time.Duration
	}{
		{"a KiB within each time-out is not enough for all of a body", 1 << 20, 1 << 10, 25 * time.Second, 0, 408, 31 * time.Second},
		{"a little below the rate", 100 << 10, 400, time.Second, 0, 408, 32 * time.Second},
		{"a little above the rate", 100 << 10, 600, time.Second, 0, 200, 172 * time.Second},
		{"a burst buys no long silence", 100 << 10, 50 << 10, 200 * time.Second, 0, 408, 31 * time.Second},
		{"a small body has the grace", 3 << 10, 1 << 10, 12 * time.Second, 0, 200, 37 * time.Second},
		{"a reader that rests", 100 << 10, 50 << 10, 0, 60 * time.Second, 200, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sponge{rest: tt.rest}
				srv := http1.NewServer(s, http1.Limits{})
				ours, theirs := net.Pipe()
				served, sent := make(chan bool), make(chan bool)
				go func() {
					defer close(served)
					srv.ServeConn(ours, &exchange.Conn{})
				}()
				began := time.Now()
				go func() {
					defer close(sent)
					fmt.Fprintf(theirs, "POST / HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", h, tt.length)
					piece := make([]byte, tt.piece)
					for left := tt.length; left > 0; left -= len(piece) {
						if _, err := theirs.Write(piece[:min(len(piece), left)]); err != nil {
							return
						}
						time.Sleep(tt.every)
					}
				}()
				res, err := http.ReadResponse(bufio.NewReader(theirs), nil)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); res.StatusCode != tt.status || took > tt.within {
					t.Errorf("%d after %v and %d bytes: %v", res.StatusCode, took, s.got, s.err)
				}
				theirs.Close()
				<-served
				<-sent
				srv.Close(io.EOF)
			})
		})
	}
}
