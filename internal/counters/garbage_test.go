package counters_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What a server answers is not trusted with more than the decision: lengths
// that cannot be, or that are too much to hold, and answers without an end
// cost a connection, not the process.
func TestAServerThatAnswersGarbageIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"a negative length":            "$-2\r\n",
		"a negative count":             "*-2\r\n",
		"a length of no machine":       "$9223372036854775807\r\n",
		"a count of no machine":        "*9223372036854775807\r\n",
		"a count that overflows":       "%4611686018427387905\r\n",
		"a length over 64 bits":        "$18446744073709551614\r\n",
		"arrays in arrays without end": strings.Repeat("*1\r\n", 1<<20),
		"a line without end":           "+" + strings.Repeat("a", 4<<20),
		"arrays of much":               strings.Repeat("*1000000\r\n", 1000),
		"attributes without end":       strings.Repeat("|1\r\n+a\r\n+b\r\n", 1<<20),
		"pieces without end":           "$?\r\n" + strings.Repeat(";4\r\naaaa\r\n", 1<<20),
		"a web page":                   "HTTP/1.1 400 Bad Request\r\n\r\n",
		"nothing of the kind":          "\x00\x01\x02\r\n",
		"an answer to nothing":         strings.Repeat(":1\r\n", 100),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := answering(t, answer)
			r, _ := unreached(t, address)
			eventually(t, "memory decides", func() bool {
				if refused, _ := take(t, r, time.Now(), charge(name, time.Second, 1<<20)); refused != -1 {
					t.Errorf("refused: %d", refused)
				}
				return r.Local() > 0
			})
			if r.Reachable() {
				t.Error("it is believed")
			}
		})
	}
}

// answering is a server that gives the same answer to all who connect.
func answering(t *testing.T, answer string) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				if _, err := io.WriteString(c, answer); err == nil {
					io.Copy(io.Discard, c)
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return "redis://" + ln.Addr().String()
}
