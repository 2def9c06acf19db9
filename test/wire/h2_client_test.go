package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/warder-gateway/warder/test/harness"
)

// Types and flags of frames (RFC 9113 section 6).
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing      = 0, 1, 3, 4, 6
	framePriority, frameGoAway, frameWindow, frameContinuation         = 2, 7, 8, 9
	endStream, ack, endHeaders                                    byte = 1, 1, 4
	settingInitialWindow                                               = 4
)

// h2 is a client of HTTP/2 that writes whatever it is told to.
type h2 struct {
	net.Conn
	in   *bufio.Reader
	enc  *hpack.Encoder
	dec  *hpack.Decoder
	buf  bytes.Buffer
	next uint32 // stream
}

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// dialH2 connects, and says the preface and its settings.
func dialH2(t testing.TB, g *harness.Wire, settings ...byte) *h2 {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: harness.Patience}, "tcp", g.TLS, &tls.Config{RootCAs: g.Roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if p := c.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("the gateway chose %q", p)
	}
	h := &h2{Conn: c, in: bufio.NewReader(c), next: 1, dec: hpack.NewDecoder(4096, nil)}
	h.enc = hpack.NewEncoder(&h.buf)
	h.SetDeadline(time.Now().Add(harness.Patience))
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	h.send(frameSettings, 0, 0, settings)
	return h
}

func appendFrame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func (h *h2) send(kind, flags byte, stream uint32, payload []byte) error {
	_, err := h.Write(appendFrame(nil, kind, flags, stream, payload))
	return err
}

// block encodes fields, given as name, value, name, value.
func (h *h2) block(fields ...string) []byte {
	h.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		h.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(h.buf.Bytes())
}

// stream returns a new stream's number.
func (h *h2) stream() uint32 {
	h.next += 2
	return h.next - 2
}

func (h *h2) read() (frame, error) {
	var head [9]byte
	if _, err := io.ReadFull(h.in, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1)}
	f.payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err := io.ReadFull(h.in, f.payload)
	return f, err
}

// outcome says how a stream ended: "200" for an answer, "reset" or "closed".
type outcome struct {
	how string
	id  string // request id
}

// end reads until the stream has ended.
func (h *h2) end(t testing.TB, stream uint32) outcome {
	t.Helper()
	var o outcome
	for {
		f, err := h.read()
		if err != nil {
			if isTimeout(err) {
				t.Fatalf("stream %d does not end: %v", stream, err)
			}
			return outcome{how: "closed"}
		}
		switch {
		case f.kind == frameSettings && f.flags&ack == 0:
			h.send(frameSettings, ack, 0, nil)
		case f.kind == frameGoAway && binary.BigEndian.Uint32(f.payload[4:]) != 0:
			return outcome{how: "closed"}
		case f.kind == frameHeaders:
			if f.flags&endHeaders == 0 {
				t.Fatal("a response head of several frames")
			}
			fields, err := h.dec.DecodeFull(f.payload)
			if err != nil {
				t.Fatal(err)
			}
			if f.stream != stream {
				continue
			}
			for _, field := range fields {
				switch field.Name {
				case ":status":
					o.how = field.Value
				case "x-request-id":
					o.id = field.Value
				}
			}
			if f.flags&endStream != 0 {
				return o
			}
		case f.stream == stream && f.kind == frameReset:
			if o.how == "" || binary.BigEndian.Uint32(f.payload) != 0 {
				return outcome{how: "reset"}
			}
			return o
		case f.stream == stream && f.kind == frameData && f.flags&endStream != 0:
			return o
		}
	}
}

// request are the fields of a good request, and more.
func request(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/open/a"}, more...)
}

func posting(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "https", ":authority", "h", ":path", "/open/a"}, more...)
}

// setting is one of SETTINGS.
func setting(id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, id), value)
}

// code returns the record's inner code, "" if there was no refusal.
func (o outcome) code(t testing.TB, g *harness.Wire) string {
	t.Helper()
	if o.id == "" {
		return ""
	}
	r := g.Record(t, o.id)
	if s := strconv.Itoa(r.Status); s != o.how {
		t.Errorf("answered %s, recorded as %s", o.how, s)
	}
	return r.Code
}
