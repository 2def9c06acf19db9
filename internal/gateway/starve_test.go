package gateway_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// framer is a client of HTTP/2 that writes frames by hand.
type framer struct {
	*tls.Conn
	enc *hpack.Encoder
	buf bytes.Buffer
}

// Types of frames, and a setting (RFC 9113 section 6).
const (
	frameData, frameHeaders, frameReset, frameSettings, frameWindow = 0, 1, 3, 4, 8
	settingInitialWindow                                            = 4
)

func dialHTTP2(t *testing.T, address string, client *http.Client, window uint32) *framer {
	t.Helper()
	roots := client.Transport.(*http.Transport).TLSClientConfig.RootCAs
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(generous))
	f := &framer{Conn: c}
	f.enc = hpack.NewEncoder(&f.buf)
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	f.frame(frameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, settingInitialWindow}, window))
	return f
}

func (f *framer) frame(kind, flags byte, stream uint32, payload []byte) error {
	b := binary.BigEndian.AppendUint32([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags}, stream)
	_, err := f.Write(append(b, payload...))
	return err
}

// next reads a frame and returns what it is.
func (f *framer) next() (kind, flags byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return 0, 0, err
	}
	_, err = io.CopyN(io.Discard, f, int64(head[0])<<16|int64(head[1])<<8|int64(head[2]))
	return head[3], head[4], err
}

// get begins a stream that asks for /x.
func (f *framer) get(stream uint32) {
	f.buf.Reset()
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "local"}, {":path", "/x"}} {
		f.enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	f.frame(frameHeaders, 5, stream, f.buf.Bytes()) // END_STREAM, END_HEADERS
}

// A client that asks for large answers and then gives no window for them, or
// too little, holds neither streams nor upstream connections for longer than
// the time a client has for what is written.
func TestAClientThatStarvesItsWindowsIsCutOff(t *testing.T) {
	t.Parallel()
	const streams = 20
	for _, c := range []struct {
		name   string
		window uint32 // of every stream
		feed   uint32 // bytes of window that every stream gets now and then
	}{
		{"streams without a window", 0, 0},
		{"streams that get a byte at a time", 0, 1},
		{"streams with a window, and a connection without", 1 << 30, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			words, client := certificate(t)
			h := newHouse(t, nil)
			h.patience = 300 * time.Millisecond
			over := make(chan struct{}, streams)
			routes := backend(t, func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						break
					}
				}
				over <- struct{}{}
			})
			if err := h.load(through(`{ name: one, address: "127.0.0.1:0"`+words+` }`, routes)); err != nil {
				t.Fatal(err)
			}
			f := dialHTTP2(t, h.Addresses()["one"], client, c.window)
			for i := range uint32(streams) {
				f.get(2*i + 1)
			}
			stop, fed := make(chan struct{}), make(chan struct{})
			go func() { // the only writer from here on
				defer close(fed)
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for c.feed > 0 {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					for i := range uint32(streams) {
						if f.frame(frameWindow, 0, 2*i+1, binary.BigEndian.AppendUint32(nil, c.feed)) != nil {
							return
						}
					}
				}
			}()
			for cut := 0; cut < streams; {
				kind, flags, err := f.next()
				if err != nil {
					if isTimeout(err) {
						t.Fatalf("%d of %d streams were ended", cut, streams)
					}
					break // all of them
				}
				if kind == frameReset {
					cut++
				}
				if kind == frameData && flags&1 != 0 {
					t.Fatal("an answer without end has ended")
				}
			}
			close(stop)
			<-fed
			for range streams {
				<-over // the upstream is free of it, too
			}
		})
	}
}
