//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// prober asks a proxy, a request per connection, whether it does its work,
// and counts what it asked. Safe for concurrent use.
type prober struct {
	client *http.Client
	url    string
	body   []byte // of every good answer
	field  string // that carries a credential; empty: none is needed
	bad    []refusable

	mu             sync.Mutex
	passed, turned int // requests answered with 200 and with a refusal
}

// newProber returns one that trusts roots, if url is of TLS.
func newProber(url string, body []byte, roots *x509.CertPool) *prober {
	return &prober{url: url, body: body, client: &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		},
	}}
}

// get returns the status and body of one answer.
func (p *prober) get(ctx context.Context, field string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return 0, nil, err
	}
	if name, value, ok := strings.Cut(field, ": "); ok {
		req.Header.Set(name, value)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	p.mu.Lock()
	defer p.mu.Unlock()
	if res.StatusCode == http.StatusOK {
		p.passed++
	} else {
		p.turned++
	}
	return res.StatusCode, b, err
}

// allowed asks for what must be answered with the backend's body.
func (p *prober) allowed(ctx context.Context) error {
	status, body, err := p.get(ctx, p.field)
	switch {
	case err != nil:
		return err
	case status != http.StatusOK:
		return fmt.Errorf("a good request was answered with %d", status)
	case !bytes.Equal(body, p.body):
		return fmt.Errorf("a good request got %d bytes that are not the backend's answer", len(body))
	}
	return nil
}

// refused asks for what must be turned away.
func (p *prober) refused(ctx context.Context, r refusable) error {
	status, _, err := p.get(ctx, r.field)
	if err == nil && !slices.Contains(r.status, status) {
		err = fmt.Errorf("%s: answered with %d", r.what, status)
	}
	return err
}

// all asks once for everything.
func (p *prober) all(ctx context.Context) error {
	err := p.allowed(ctx)
	for _, r := range p.bad {
		err = errors.Join(err, p.refused(ctx, r))
	}
	return err
}

// during asks twice a second, until ctx ends, for something good and, of a
// proxy that checks, for something bad. It returns how often it did, and what
// went wrong.
func (p *prober) during(ctx context.Context) (times int, err error) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	ask := context.WithoutCancel(ctx) // what was asked is waited for
	for {
		select {
		case <-ctx.Done():
			return times, err
		case <-tick.C:
		}
		wrong := p.allowed(ask)
		if len(p.bad) > 0 {
			wrong = errors.Join(wrong, p.refused(ask, p.bad[0]))
		}
		if wrong != nil && err == nil {
			err = wrong
		}
		times++
	}
}

// counts returns how many answers passed and were turned away.
func (p *prober) counts() (passed, turned int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed, p.turned
}

// upstream is what the backend has counted.
type upstream struct{ connections, requests int }

// readUpstream asks nginx's stub_status; the question itself counts as one of
// each.
func (p *prober) readUpstream(ctx context.Context, url string) (u upstream, err error) {
	q := prober{client: p.client, url: url}
	_, b, err := q.get(ctx, "")
	if err != nil {
		return u, err
	}
	_, after, _ := bytes.Cut(b, []byte("requests\n"))
	if _, err = fmt.Sscan(string(after), &u.connections, new(int), &u.requests); err != nil {
		return u, fmt.Errorf("the backend's counters: %w: %q", err, b)
	}
	return u, nil
}

// within says what is wrong with a number that must lie between two others.
func within(what string, n, low, high int) error {
	if n < low || n > high {
		return fmt.Errorf("%s: %d, expected %d to %d", what, n, low, high)
	}
	return nil
}

// logged waits until a log holds at least the lines it must, for three
// seconds, and says what is wrong with it. Requests under way when wrk hangs
// up, at most slack, may have a line or none, of any status.
func logged(ctx context.Context, file string, passed, turned, slack int) (lines int, err error) {
	deadline := time.Now().Add(3 * time.Second)
	for {
		all, ok, err := countLines(file)
		if err != nil {
			return 0, err
		}
		if all >= passed+turned && ok >= passed || time.Now().After(deadline) {
			return all, errors.Join(
				within("lines in the access log", all, passed+turned, passed+turned+slack),
				within("lines with status 200", ok, passed, passed+slack))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// countLines counts the whole lines of a JSON log, and those of status 200.
func countLines(file string) (lines, ok int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return lines, ok, nil
		}
		if err != nil {
			return 0, 0, err
		}
		lines++
		if bytes.Contains(line, []byte(`"status":200,`)) {
			ok++
		}
	}
}

// metric returns a metric of Warder, added up over its labels.
func (p *prober) metric(ctx context.Context, url, name string) (float64, error) {
	all, err := p.metricsOf(ctx, url, name)
	return all[0], err
}

// metricsOf returns several metrics, each added up over its labels.
func (p *prober) metricsOf(ctx context.Context, url string, names ...string) ([]float64, error) {
	sums := make([]float64, len(names))
	q := prober{client: p.client, url: url}
	_, b, err := q.get(ctx, "")
	if err != nil {
		return sums, err
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		for i, name := range names {
			rest, found := strings.CutPrefix(line, name)
			if !found || rest == "" || rest[0] != '{' && rest[0] != ' ' {
				continue
			}
			n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				return sums, err
			}
			sums[i] += n
		}
	}
	return sums, nil
}
