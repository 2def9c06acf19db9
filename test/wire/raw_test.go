package wire

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/test/harness"
)

// Smuggling is judged by what the origin received: exactly what was decided,
// nothing of what was refused, and never a request more.
func TestTheOriginReceivesExactlyWhatWasDecided(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin))
	answered := 0
	for _, c := range rawCases() {
		t.Run(c.name, func(t *testing.T) {
			want, arrives := c.answers, c.arrives
			if !c.ends {
				want, arrives = append(want[:len(want):len(want)], ok), append(arrives[:len(arrives):len(arrives)], lastArrived)
			}
			got := say(t, g.Plain, c.raw+last, harness.Patience)
			answered += len(got)
			for i := range max(len(got), len(want)) {
				switch {
				case i >= len(got):
					t.Errorf("answer %d is missing, want %v", i, want[i])
				case i >= len(want):
					t.Errorf("answer %d is %d, want none", i, got[i].status)
				default:
					r := g.Record(t, got[i].id)
					if is := (answer{got[i].status, r.Code}); is != want[i] || r.Status != got[i].status {
						t.Errorf("answer %d is %v, its record says %d; want %v", i, is, r.Status, want[i])
					}
				}
			}
			same(t, "the origin received", origin.Take(), arrives)
		})
	}
	if n := len(g.Records(t)); n != answered {
		t.Errorf("%d records of %d answers", n, answered)
	}
	if code := g.Terminate(t); code != 0 {
		t.Errorf("the gateway ended with status %d", code)
	}
	same(t, "after the end the origin received", origin.Take(), nil)
}

// Clients that leave early leave nothing at the origin but a torn beginning,
// and a record that says so.
func TestAMessageThatWasCutIsNeverWhole(t *testing.T) {
	t.Parallel()
	origin := harness.StartOrigin(t)
	g := harness.StartWire(t, config(origin))
	for _, c := range []struct {
		name, raw string
		want      answer
	}{
		{"in the request line", "GET /open/cu", answer{400, "request_malformed"}},
		{"in the head", "GET /open/cut HTTP/1.1\r\nHost: h\r\n", answer{400, "request_malformed"}},
		{"before the body", lines("POST /open/cut HTTP/1.1", "Host: h", "Content-Length: 2"), answer{499, "client_gone"}},
		{"in the body", lines("POST /open/cut HTTP/1.1", "Host: h", "Content-Length: 3") + "ab", answer{499, "client_gone"}},
		{"in a large body", lines("POST /open/cut HTTP/1.1", "Host: h", "Content-Length: 100000") + strings.Repeat("x", 50_000), answer{499, "client_gone"}},
		{"in a chunk", lines("POST /open/cut HTTP/1.1", "Host: h", chunked) + "5\r\nab", answer{499, "client_gone"}},
		{"behind a chunk", lines("POST /open/cut HTTP/1.1", "Host: h", chunked) + chunk("ab"), answer{499, "client_gone"}},
		{"behind the last chunk", lines("POST /open/cut HTTP/1.1", "Host: h", chunked) + chunk("ab") + "0\r\n", answer{499, "client_gone"}},
		{"in a trailer", lines("POST /open/cut HTTP/1.1", "Host: h", chunked) + chunk("ab") + "0\r\nX-A: b\r\n", answer{499, "client_gone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(g.Records(t))
			conn, err := net.DialTimeout("tcp", g.Plain, harness.Patience)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, c.raw)
			conn.Close()
			harness.Eventually(t, "the record of the cut request", func() bool { return len(g.Records(t)) > before })
			if r := g.Records(t)[before]; (answer{r.Status, r.Code}) != c.want {
				t.Errorf("recorded as %d %s, want %v", r.Status, r.Code, c.want)
			}
			same(t, "the origin received", origin.Take(), nil)
		})
	}
}

// Whatever another proxy before the gateway lets through, and however it
// writes it, the origin never gets a request more than that proxy sent on.
func TestTheOriginNeverGetsMoreThanAFrontAccepted(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB, string) *harness.Front{"nginx": harness.NginxFront, "HAProxy": harness.HAProxyFront} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := harness.StartOrigin(t)
			g := harness.StartWire(t, config(origin))
			front := start(t, g.Plain)
			for _, c := range rawCases() {
				// A front may take what follows for a part of the case and wait for more.
				say(t, front.Address, c.raw+last, 150*time.Millisecond)
			}
			front.Terminate(t)
			if code := g.Terminate(t); code != 0 {
				t.Errorf("the gateway ended with status %d", code)
			}
			accepted, sent := front.Accepted(), 0
			for _, n := range accepted {
				sent += n
			}
			passed, left := 0, 0
			for _, r := range g.Records(t) {
				switch r.Code {
				case "":
					passed++
				case "client_gone": // before its answer, which is late on a busy machine
					left++
				}
			}
			t.Logf("the front sent %d on, the gateway let %d pass, the origin got %d", sent, passed, origin.Count())
			if sent < 100 || origin.Count() < 50 {
				t.Errorf("%d requests came through the front, %d to the origin: the test shows nothing", sent, origin.Count())
			}
			if n := origin.Count(); n < passed || n > passed+left {
				t.Errorf("the gateway let %d pass and %d left early, the origin got %d", passed, left, n)
			}
			got := map[string]int{}
			for _, arrived := range origin.Take() {
				got[strings.Split(arrived, " ")[1]]++
			}
			for target, n := range got {
				if n > accepted[target] {
					t.Errorf("%s reached the origin %d times; the front sent it on %d times", target, n, accepted[target])
				}
			}
			if n := accepted["/open/hidden"]; n > 0 {
				t.Logf("the front took %d hidden requests for requests", n)
			}
		})
	}
}
