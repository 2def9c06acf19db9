package wire

import (
	"strings"
	"sync"
	"testing"

	"github.com/warder-gateway/warder/test/harness"
)

// Floods of HTTP/2 cost their sender: a steady client beside them fails in
// nothing, and the gateway's memory stays bounded.
func TestFloodsOfHTTP2AreNotFeltBeside(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin))
	for _, c := range []struct {
		name  string
		flood func(t *testing.T)
	}{
		{"rapid reset, 10000 streams", func(t *testing.T) { rapidReset(t, g, 10_000) }},
		{"CONTINUATION without end", func(t *testing.T) { continuations(t, g) }},
		{"empty CONTINUATION without end", func(t *testing.T) { emptyContinuations(t, g) }},
		{"SETTINGS, their answers unread", func(t *testing.T) { controls(t, g, frameSettings, nil) }},
		{"PING, their answers unread", func(t *testing.T) { controls(t, g, framePing, make([]byte, 8)) }},
		{"empty DATA", func(t *testing.T) { emptyData(t, g) }},
		{"PRIORITY", func(t *testing.T) { priorities(t, g) }},
		{"MadeYouReset: a window too large", func(t *testing.T) { madeYouReset(t, g, origin, windowOverflow) }},
		{"MadeYouReset: a window raised by nothing", func(t *testing.T) { madeYouReset(t, g, origin, windowZero) }},
		{"MadeYouReset: data behind the end", func(t *testing.T) { madeYouReset(t, g, origin, dataBehindEnd) }},
		{"MadeYouReset: a head behind the end", func(t *testing.T) { madeYouReset(t, g, origin, headBehindEnd) }},
		{"MadeYouReset: a stream that depends on itself", func(t *testing.T) { madeYouReset(t, g, origin, selfDependent) }},
		{"MadeYouReset: more data than was said", func(t *testing.T) { madeYouReset(t, g, origin, tooMuchData) }},
		{"a window that grows by one byte", func(t *testing.T) { crumbs(t, g) }},
		{"bodies that never come", func(t *testing.T) { stuckBodies(t, g) }},
		{"more streams than are allowed", func(t *testing.T) { tooManyStreams(t, g) }},
		{"a window of zero", func(t *testing.T) { zeroWindow(t, g) }},
		{"a header bomb", func(t *testing.T) { bomb(t, g) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			neighbour := startSteady(t, g)
			before := origin.Count()
			c.flood(t)
			neighbour.end(t)
			t.Logf("%d requests reached the origin, those of the steady client among them", origin.Count()-before)
		})
	}
}

// pour writes frames until the gateway ends the connection, or all is sent. It
// reads nothing. It returns how many bytes were taken.
func pour(h *h2, piece []byte, most int) (sent int, ended bool) {
	for sent < most {
		n, err := h.Write(piece)
		sent += n
		if err != nil {
			return sent, !isTimeout(err)
		}
	}
	return sent, false
}

func rapidReset(t *testing.T, g *harness.Wire, streams int) {
	h := dialH2(t, g)
	sent, ended := 0, 0
	for ; sent < streams; sent++ {
		id := h.stream()
		b := appendFrame(nil, frameHeaders, endHeaders|endStream, id, h.block(request()...))
		b = appendFrame(b, frameReset, 0, id, []byte{0, 0, 0, 8})
		if _, err := h.Write(b); err != nil {
			// An angry gateway may end it; then the rest comes over another.
			h, ended = dialH2(t, g), ended+1
		}
	}
	t.Logf("%d streams were reset; the connection was ended %d times", sent, ended)
}

func continuations(t *testing.T, g *harness.Wire) {
	h := dialH2(t, g)
	h.send(frameHeaders, endStream, h.stream(), h.block(request()...))
	piece := appendFrame(nil, frameContinuation, 0, 1, h.block("x-a", strings.Repeat("a", 8<<10)))
	sent, ended := pour(h, piece, 256<<20)
	t.Logf("taken: %d bytes", sent)
	if !ended {
		t.Error("a head without end is read on")
	}
}

func emptyContinuations(t *testing.T, g *harness.Wire) {
	h := dialH2(t, g)
	h.send(frameHeaders, endStream, h.stream(), h.block(request()...))
	var piece []byte
	for range 1000 {
		piece = appendFrame(piece, frameContinuation, 0, 1, nil)
	}
	sent, ended := pour(h, piece, 4<<20)
	t.Logf("taken: %d frames, connection ended: %v", sent/9, ended)
}

func controls(t *testing.T, g *harness.Wire, kind byte, payload []byte) {
	h := dialH2(t, g)
	var piece []byte
	for range 1000 {
		piece = appendFrame(piece, kind, 0, 0, payload)
	}
	sent, ended := pour(h, piece, 4<<20)
	t.Logf("taken: %d bytes, connection ended: %v", sent, ended)
}

func emptyData(t *testing.T, g *harness.Wire) {
	h := dialH2(t, g)
	id := h.stream()
	h.send(frameHeaders, endHeaders, id, h.block(posting()...))
	var piece []byte
	for range 1000 {
		piece = appendFrame(piece, frameData, 0, id, nil)
	}
	sent, ended := pour(h, piece, 4<<20)
	t.Logf("taken: %d frames, connection ended: %v", sent/9, ended)
}

// zeroWindow asks for a hundred large answers on each of four connections,
// and takes nothing of them.
func zeroWindow(t *testing.T, g *harness.Wire) {
	var over sync.WaitGroup
	for range 4 {
		h := dialH2(t, g, setting(settingInitialWindow, 0)...)
		fields := []string{":method", "GET", ":scheme", "https", ":authority", "h", ":path", "/open" + harness.BigPath}
		for range 100 {
			h.send(frameHeaders, endHeaders|endStream, h.stream(), h.block(fields...))
		}
		over.Go(func() {
			for heads := 0; heads < 100; { // they come, without their bodies
				f, err := h.read()
				if err != nil {
					t.Errorf("%d heads of 100 came: %v", heads, err)
					return
				}
				switch f.kind {
				case frameHeaders:
					heads++
				case frameData:
					if len(f.payload) > 0 {
						t.Error("data beyond the window")
						return
					}
				}
			}
		})
	}
	over.Wait()
}

// bomb names one large field of the dynamic table again and again.
func bomb(t *testing.T, g *harness.Wire) {
	h := dialH2(t, g)
	h.block(request("x-a", strings.Repeat("a", 3<<10))...)
	dropped := 0
	for range 2000 {
		id := h.stream()
		fields := request()
		for range 200 {
			fields = append(fields, "x-a", strings.Repeat("a", 3<<10))
		}
		if h.send(frameHeaders, endHeaders|endStream, id, h.block(fields...)) != nil {
			dropped++
			h = dialH2(t, g)
		}
	}
	t.Logf("the connection was ended %d times", dropped)
}
