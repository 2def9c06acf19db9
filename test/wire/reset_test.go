package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// madeYouReset begins streams that the origin does not answer, and has the
// gateway reset each, by a frame that is wrong (CVE-2025-8671): if a stream
// that was reset no longer counted while it is still served, there would be no
// bound to what is asked of the origin.
func madeYouReset(t *testing.T, g *harness.Wire, origin *harness.Origin, wrong func(h *h2, id uint32) []byte) {
	const streams = 3000
	origin.Peak()
	ended, taken := 0, 0
	for taken < streams {
		h := dialH2(t, g)
		replies := make(chan string)
		go func() { replies <- h.until(frame{kind: framePing, flags: ack}) }()
		var err error
		for ; err == nil && taken < streams; taken++ {
			_, err = h.Write(wrong(h, h.stream()))
		}
		h.send(framePing, 0, 0, make([]byte, 8)) // whose answer says that all was seen
		if end := <-replies; end != "" {
			ended++
			if ended == 1 {
				t.Logf("ended after %d streams: %s", taken, end)
			}
		}
		h.Close()
	}
	peak := origin.Peak()
	t.Logf("%d streams, %d connections were ended; the origin had at most %d connections", taken, ended, peak)
	if peak > 500 { // 100 streams of each of ours, and what ends meanwhile
		t.Errorf("the origin had %d connections at once", peak)
	}
}

// until reads until a frame like want comes, and returns "", or why the
// connection ended before.
func (h *h2) until(want frame) string {
	why := ""
	for {
		f, err := h.read()
		switch {
		case err != nil:
			return why + err.Error()
		case f.kind == want.kind && f.flags == want.flags:
			return ""
		case f.kind == frameGoAway:
			why = fmt.Sprintf("GOAWAY %d %q, ", binary.BigEndian.Uint32(f.payload[4:]), f.payload[8:])
		}
	}
}

// dialReading is dialH2 with somebody who reads what comes.
func dialReading(t *testing.T, g *harness.Wire) (*h2, chan struct{}) {
	h, over := dialH2(t, g), make(chan struct{})
	go func() {
		defer close(over)
		io.Copy(io.Discard, h.in)
	}()
	return h, over
}

// stalling are the fields of a request that is not answered.
func stalling(method string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "https", ":authority", "h", ":path", "/open" + harness.StallPath}, more...)
}

func appendRequest(h *h2, flags byte, id uint32, fields []string) []byte {
	return appendFrame(nil, frameHeaders, endHeaders|flags, id, h.block(fields...))
}

func windowOverflow(h *h2, id uint32) []byte {
	return appendFrame(appendRequest(h, endStream, id, stalling("GET")), frameWindow, 0, id, []byte{127, 255, 255, 255})
}

func windowZero(h *h2, id uint32) []byte {
	return appendFrame(appendRequest(h, endStream, id, stalling("GET")), frameWindow, 0, id, make([]byte, 4))
}

func dataBehindEnd(h *h2, id uint32) []byte {
	return appendFrame(appendRequest(h, endStream, id, stalling("GET")), frameData, endStream, id, []byte("x"))
}

func headBehindEnd(h *h2, id uint32) []byte {
	return append(appendRequest(h, endStream, id, stalling("GET")), appendRequest(h, endStream, id, stalling("GET"))...)
}

func selfDependent(h *h2, id uint32) []byte {
	return appendFrame(appendRequest(h, endStream, id, stalling("GET")), framePriority, 0, id, append(binary.BigEndian.AppendUint32(nil, id), 1))
}

func tooMuchData(h *h2, id uint32) []byte {
	return appendFrame(appendRequest(h, 0, id, stalling("POST", "content-length", "1")), frameData, 0, id, []byte("too much"))
}

// priorities moves a tree of streams about.
func priorities(t *testing.T, g *harness.Wire) {
	h, discard := dialReading(t, g)
	var piece []byte
	for i := range uint32(1000) {
		piece = appendFrame(piece, framePriority, 0, 2*i+1, append(binary.BigEndian.AppendUint32(nil, 2*((i+7)%1000)+3), 255))
	}
	sent, ended := pour(h, piece, 4<<20)
	h.Close()
	<-discard
	t.Logf("taken: %d bytes, connection ended: %v", sent, ended)
}

// crumbs asks for large answers and takes each a byte at a time: every byte
// costs a frame.
func crumbs(t *testing.T, g *harness.Wire) {
	const streams = 50
	h := dialH2(t, g, setting(settingInitialWindow, 0)...)
	discard := make(chan struct{})
	go func() {
		defer close(discard)
		io.Copy(io.Discard, h.in)
	}()
	fields := []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/open" + harness.BigPath}
	var piece []byte
	for range streams {
		id := h.stream()
		h.send(frameHeaders, endHeaders|endStream, id, h.block(fields...))
		piece = appendFrame(piece, frameWindow, 0, id, []byte{0, 0, 0, 1})
	}
	sent, ended := pour(h, piece, 1<<20)
	h.Close()
	<-discard
	t.Logf("taken: %d bytes, connection ended: %v", sent, ended)
}

// stuckBodies begins bodies on all streams of some connections and leaves them
// there.
func stuckBodies(t *testing.T, g *harness.Wire) {
	for range 10 {
		h, _ := dialReading(t, g)
		for range 100 {
			id := h.stream()
			h.send(frameHeaders, endHeaders, id, h.block(posting()...))
			h.send(frameData, 0, id, make([]byte, 100))
		}
	}
}

// tooManyStreams opens streams beyond what the gateway has allowed.
func tooManyStreams(t *testing.T, g *harness.Wire) {
	ended := 0
	h, discard := dialReading(t, g)
	for range 5000 {
		if h.send(frameHeaders, endHeaders, h.stream(), h.block(posting()...)) != nil {
			ended++
			h, discard = dialReading(t, g)
		}
	}
	h.Close()
	<-discard
	t.Logf("the connection was ended %d times", ended)
}
