package keys_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/keys"
)

// responder answers for one CA as a test says.
type responder struct {
	*httptest.Server
	t      *testing.T
	ca     *issued
	asked  atomic.Int64
	said   func(*ocsp.Response)                       // changes what it says
	signer *issued                                    // nil: the CA
	does   func(w http.ResponseWriter, answer []byte) // nil: gives the answer
	hold   chan struct{}                              // nil: answers at once
}

func newResponder(t *testing.T, ca *issued) *responder {
	r := &responder{t: t, ca: ca}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.asked.Add(1)
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-req.Context().Done():
			return
		}
	}
	q, err := ocsp.ParseRequest(b)
	if err != nil {
		r.t.Errorf("the question: %v", err)
		return
	}
	answer := ocsp.Response{Status: ocsp.Good, SerialNumber: q.SerialNumber, ThisUpdate: certNow.Add(-time.Minute), NextUpdate: certNow.Add(time.Hour)}
	signer, key := r.ca.cert, crypto.Signer(r.ca.key)
	if r.signer != nil {
		signer, key, answer.Certificate = r.signer.cert, r.signer.key, r.signer.cert
	}
	if r.said != nil {
		r.said(&answer)
	}
	der, err := ocsp.CreateResponse(r.ca.cert, signer, answer, key)
	if err != nil {
		r.t.Error(err)
		return
	}
	if r.does != nil {
		r.does(w, der)
		return
	}
	w.Write(der)
}

// asks judges client certificates by OCSP.
func asks(t *testing.T, ca *issued, url string, own ...uint16) *keys.ClientCAs {
	t.Helper()
	c, _, err := keys.ParseClientCAs([]byte(ca.pem()), certNow)
	if err != nil {
		t.Fatal(err)
	}
	c.OCSP = keys.NewOCSP(keys.OCSPConfig{URL: url, Own: own, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(c.OCSP.Close)
	return c
}

func client(t *testing.T, ca *issued, serial int64) *issued {
	t.Helper()
	return issue(t, ca, fmt.Sprint("client ", serial), func(c *x509.Certificate) {
		c.SerialNumber, c.ExtKeyUsage = big.NewInt(serial), []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
}

func judged(ctx context.Context, c *keys.ClientCAs, cert *issued, now time.Time) exchange.CertVerdict {
	v, _ := c.JudgeCert(ctx, []*x509.Certificate{cert.cert}, now)
	return v
}

// Whatever a responder does but to say "good" of this very certificate, now, in
// a way that the CA stands for, nobody passes by it.
func TestOCSPFailsClosed(t *testing.T) {
	t.Parallel()
	good := func(w http.ResponseWriter, der []byte) { w.Write(der) }
	delegate := func(change func(*x509.Certificate)) func(*responder) {
		return func(r *responder) {
			r.signer = issue(r.t, r.ca, "responder", func(c *x509.Certificate) {
				c.SerialNumber, c.ExtKeyUsage = big.NewInt(99), []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
				change(c)
			})
		}
	}
	for name, c := range map[string]struct {
		change func(*responder)
		want   exchange.CertState
	}{
		"good":                             {func(r *responder) { r.does = good }, exchange.CertVerified},
		"good, by whom the CA appointed":   {delegate(func(*x509.Certificate) {}), exchange.CertVerified},
		"good, of a moment ahead, in skew": {func(r *responder) { r.said = func(a *ocsp.Response) { a.ThisUpdate = certNow.Add(20 * time.Second) } }, exchange.CertVerified},
		"good, without an end": {func(r *responder) {
			r.said = func(a *ocsp.Response) { a.ThisUpdate, a.NextUpdate = certNow, time.Time{} }
		}, exchange.CertVerified},
		"revoked":                {func(r *responder) { r.said = func(a *ocsp.Response) { a.Status, a.RevokedAt = ocsp.Revoked, certNow } }, exchange.CertRevoked},
		"not known":              {func(r *responder) { r.said = func(a *ocsp.Response) { a.Status = ocsp.Unknown } }, exchange.CertUnknown},
		"of another certificate": {func(r *responder) { r.said = func(a *ocsp.Response) { a.SerialNumber = big.NewInt(8) } }, exchange.CertUnknown},
		"named by another hash":  {func(r *responder) { r.said = func(a *ocsp.Response) { a.IssuerHash = crypto.SHA256 } }, exchange.CertUnknown},
		"out of date":            {func(r *responder) { r.said = func(a *ocsp.Response) { a.NextUpdate = certNow } }, exchange.CertUnknown},
		"without an end, and old": {func(r *responder) {
			r.said = func(a *ocsp.Response) { a.ThisUpdate, a.NextUpdate = certNow.Add(-time.Minute), time.Time{} }
		}, exchange.CertUnknown},
		"of the future":                  {func(r *responder) { r.said = func(a *ocsp.Response) { a.ThisUpdate = certNow.Add(time.Minute) } }, exchange.CertUnknown},
		"signed by a client":             {delegate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), exchange.CertUnknown},
		"signed by one of no purpose":    {delegate(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), exchange.CertUnknown},
		"signed by one of any purpose":   {delegate(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), exchange.CertUnknown},
		"signed by one that has expired": {delegate(func(c *x509.Certificate) { c.NotAfter = certNow.Add(-time.Second) }), exchange.CertUnknown},
		"signed by one that is to come":  {delegate(func(c *x509.Certificate) { c.NotBefore = certNow.Add(time.Second) }), exchange.CertUnknown},
		"of another CA of that name":     {func(r *responder) { r.ca = issue(r.t, nil, "ca", asCA) }, exchange.CertUnknown},
		"appointed by another CA": {func(r *responder) {
			r.signer = issue(r.t, issue(r.t, nil, "ca", asCA), "responder", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
		}, exchange.CertUnknown},
		"changed on the way": {func(r *responder) {
			r.does = func(w http.ResponseWriter, der []byte) { der[len(der)/2] ^= 1; w.Write(der) }
		}, exchange.CertUnknown},
		"nothing": {func(r *responder) { r.does = func(http.ResponseWriter, []byte) {} }, exchange.CertUnknown},
		"garbage": {func(r *responder) {
			r.does = func(w http.ResponseWriter, _ []byte) { io.WriteString(w, "<html>sign in</html>") }
		}, exchange.CertUnknown},
		"an answer and more": {func(r *responder) {
			r.does = func(w http.ResponseWriter, der []byte) { w.Write(append(der, 0)) }
		}, exchange.CertUnknown},
		"too large": {func(r *responder) {
			r.does = func(w http.ResponseWriter, der []byte) { w.Write(append(der, make([]byte, 64<<10)...)) }
		}, exchange.CertUnknown},
		"endless": {func(r *responder) {
			r.does = func(w http.ResponseWriter, der []byte) {
				for _, err := w.Write(der); err == nil; _, err = w.Write(make([]byte, 16<<10)) {
				}
			}
		}, exchange.CertUnknown},
		"try later": {func(r *responder) {
			r.does = func(w http.ResponseWriter, _ []byte) { w.Write(ocsp.TryLaterErrorResponse) }
		}, exchange.CertUnknown},
		"unauthorized": {func(r *responder) {
			r.does = func(w http.ResponseWriter, _ []byte) { w.Write(ocsp.UnauthorizedErrorResponse) }
		}, exchange.CertUnknown},
		"good, with status 500": {func(r *responder) {
			r.does = func(w http.ResponseWriter, der []byte) { w.WriteHeader(500); w.Write(der) }
		}, exchange.CertUnknown},
		"cut off": {func(r *responder) {
			r.does = func(http.ResponseWriter, []byte) { panic(http.ErrAbortHandler) }
		}, exchange.CertUnknown},
		"slow": {func(r *responder) { r.hold = make(chan struct{}) }, exchange.CertUnknown},
		"down": {func(r *responder) { r.Close() }, exchange.CertUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := issue(t, nil, "ca", asCA)
			r := newResponder(t, ca)
			url := r.URL
			c.change(r)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if name == "slow" {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, 20*time.Millisecond)
				defer stop()
			}
			if v := judged(ctx, asks(t, ca, url), client(t, ca, 7), certNow); v.State != c.want || (v.Reason == "") != (c.want == exchange.CertVerified) {
				t.Errorf("%v, want %v: %s", v.State, c.want, v.Reason)
			}
		})
	}
}

func TestOCSPFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, "ca", asCA)
	elsewhere := newResponder(t, ca)
	for _, status := range []int{301, 302, 303, 307, 308} {
		r := newResponder(t, ca)
		r.does = func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(status)
		}
		if v := judged(t.Context(), asks(t, ca, r.URL), client(t, ca, 7), certNow); v.State != exchange.CertUnknown {
			t.Errorf("%d: %v", status, v.State)
		}
	}
	if n := elsewhere.asked.Load(); n > 0 {
		t.Errorf("who was named by a redirect was asked %d times", n)
	}
}

// A certificate chooses whom to ask about it, and so does not choose where in
// our own network a request goes.
func TestOCSPAsksNobodyWhomACertificateMayNotName(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, "ca", asCA)
	ours := newResponder(t, ca)
	port := ours.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
	for name, url := range map[string]string{
		"ourselves": ours.URL, "the metadata of a cloud": "http://169.254.169.254/", "link-local": "http://[fe80::1]/", "a file": "file:///etc/passwd",
		"LDAP": "ldap://127.0.0.1/", "with a name and a password": strings.Replace(ours.URL, "//", "//user:secret@", 1), "no host": "http:///x",
	} {
		cert := issue(t, ca, "client", func(c *x509.Certificate) {
			c.SerialNumber, c.ExtKeyUsage, c.OCSPServer = big.NewInt(7), []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, []string{url}
		})
		if v := judged(t.Context(), asks(t, ca, "", port), cert, certNow); v.State != exchange.CertUnknown {
			t.Errorf("%s: %v", name, v.State)
		}
	}
	if n := ours.asked.Load(); n > 0 {
		t.Errorf("we asked ourselves %d times", n)
	}
}

func TestManyWhoWaitForAnAnswerAreOneQuestion(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, "ca", asCA)
	r := newResponder(t, ca)
	r.hold = make(chan struct{})
	c, cert := asks(t, ca, r.URL), client(t, ca, 7)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if v := judged(t.Context(), c, cert, certNow); v.State != exchange.CertVerified {
				t.Error(v.State, v.Reason)
			}
		})
	}
	for end := time.Now().Add(10 * time.Second); r.asked.Load() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	close(r.hold)
	wg.Wait()
	if n := r.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Strangers who show certificates of a CA that does not answer use up the
// questions, never the answers that are there.
func TestQuestionsAreBoundedAndKnownCertificatesGoOn(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, "ca", asCA)
	r := newResponder(t, ca)
	c, known := asks(t, ca, r.URL), client(t, ca, 7)
	if v := judged(t.Context(), c, known, certNow); v.State != exchange.CertVerified {
		t.Fatal(v)
	}
	r.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits, and the questions stay
	for i := range 200 {
		if v := judged(ctx, c, client(t, ca, int64(1000+i)), certNow); v.State != exchange.CertUnknown {
			t.Fatal(v)
		}
	}
	for end := time.Now().Add(10 * time.Second); r.asked.Load() < 65 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if n := r.asked.Load(); n != 65 {
		t.Errorf("%d questions, want 64 and the first", n)
	}
	for _, after := range []time.Duration{0, 6 * time.Minute} { // also when it is due to be asked for again
		if v := judged(t.Context(), c, known, certNow.Add(after)); v.State != exchange.CertVerified {
			t.Errorf("a certificate that is known to be good, after %v: %v", after, v)
		}
	}
	close(r.hold)
}

// An answer holds for as long as it says, also while the responder is down, and
// no longer; it is asked for again before.
func TestAnAnswerIsBelievedUntilItEnds(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, "ca", asCA)
	r := newResponder(t, ca)
	r.said = func(a *ocsp.Response) { a.NextUpdate = certNow.Add(4 * time.Minute) }
	c, cert := asks(t, ca, r.URL), client(t, ca, 7)
	var down atomic.Bool
	r.does = func(w http.ResponseWriter, der []byte) {
		if down.Load() {
			w.WriteHeader(503)
			return
		}
		w.Write(der)
	}
	at := func(after time.Duration, want exchange.CertState, asked int64) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // a question may be under way still
			if v := judged(t.Context(), c, cert, certNow.Add(after)); v.State != want {
				t.Errorf("after %v: %v %s, want %v", after, v.State, v.Reason, want)
			}
			if r.asked.Load() >= asked || time.Now().After(end) {
				break
			}
		}
		if n := r.asked.Load(); n != asked {
			t.Errorf("after %v: asked %d times, want %d", after, n, asked)
		}
	}
	at(0, exchange.CertVerified, 1)
	at(time.Minute, exchange.CertVerified, 1)
	down.Store(true)
	at(3*time.Minute, exchange.CertVerified, 2) // half of its time is over
	at(4*time.Minute, exchange.CertUnknown, 3)
	at(4*time.Minute+time.Second, exchange.CertUnknown, 3) // a responder that is down is left alone for a while
	down.Store(false)
	r.said = func(a *ocsp.Response) { a.NextUpdate = certNow.Add(time.Hour) }
	at(5*time.Minute, exchange.CertVerified, 4)
}
