package gateway_test

import (
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// heapBound is how much more may live while a large body goes through than
// before, in client, gateway and origin together: buffers, and the windows of
// HTTP/2. It does not grow with the body.
const heapBound = 8 << 20

// watched counts bytes and looks at the heap now and then.
type watched struct {
	io.Reader
	came, next int64
	most       *atomic.Int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if w.came += int64(n); w.came >= w.next {
		w.next += largeBody / 4
		for now, was := live(), w.most.Load(); now > was && !w.most.CompareAndSwap(was, now); was = w.most.Load() {
		}
	}
	return n, err
}

// live returns the bytes of the heap that are in use.
func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func noise(size int64, seed byte) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
}

func digest(r io.Reader) string {
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.Copy(h, r)
	return fmt.Sprint(n, " ", h.Sum32(), " ", err)
}

// Bodies of any size go through, both ways, over every pair of protocols, and
// nothing of them stays in memory. This test runs alone: it looks at the heap.
func TestLargeBodiesAreNotHeld(t *testing.T) {
	h := newHouse(t, nil)
	url := h2cOrigin(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			io.WriteString(w, digest(r.Body))
			return
		}
		if r.URL.RawQuery != "" {
			w.Header().Set("Content-Length", strconv.FormatInt(largeBody, 10))
		}
		io.Copy(w, noise(largeBody, 1))
	})
	if err := h.load(toward(plainH2C, url, ", body: { maxSize: 4GiB }")); err != nil {
		t.Fatal(err)
	}
	address := "http://" + h.Addresses()["one"]
	h1 := &http.Transport{}
	defer h1.CloseIdleConnections()
	want := digest(noise(largeBody, 1))
	for _, c := range []struct {
		name   string
		client *http.Client
		path   string
		length bool // of uploads is declared, and of downloads not; or the other way round
	}{
		{"HTTP/1.1 to HTTP/1.1", &http.Client{Transport: h1}, "/one", true},
		{"HTTP/1.1 to h2c", &http.Client{Transport: h1}, "/two", false},
		{"h2c to HTTP/1.1", h2cClient(t), "/one", true},
		{"h2c to h2c", h2cClient(t), "/rpc", false},
	} {
		c.client.Timeout = 10 * time.Minute
		before := live()
		var most atomic.Int64
		req, _ := http.NewRequest("PUT", address+c.path, &watched{Reader: noise(largeBody, 1), most: &most})
		if c.length {
			req.ContentLength = largeBody
		}
		resp, err := c.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != want {
			t.Errorf("%s, up: %s, want %s", c.name, got, want)
		}
		query := "?length"
		if c.length {
			query = ""
		}
		if resp, err = c.client.Get(address + c.path + query); err != nil {
			t.Fatal(err)
		}
		if got := digest(&watched{Reader: resp.Body, most: &most}); got != want {
			t.Errorf("%s, down: %s, want %s", c.name, got, want)
		}
		resp.Body.Close()
		grown := most.Load() - before
		t.Logf("%s: the heap grew by at most %d KiB", c.name, grown>>10)
		if grown > heapBound {
			t.Errorf("%s: the heap grew by %d bytes", c.name, grown)
		}
	}
}
