package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/warder-gateway/warder/internal/dial"
)

// OCSPConfig says whom to ask about single certificates (RFC 6960).
type OCSPConfig struct {
	URL string   // the responder; empty: the one that the certificate names (AIA)
	Own []uint16 // loopback ports of our own surfaces: never dialled
	Log *slog.Logger
}

const (
	ocspTimeout  = 2 * time.Second // of one question
	ocspBytes    = 64 << 10        // of one answer
	ocspAnswers  = 10_000          // that are remembered
	ocspInFlight = 64              // questions at a time
	ocspRefresh  = 5 * time.Minute // after which an answer that is good for longer is asked for again
	ocspRetry    = 5 * time.Second // after a question without an answer
	ocspSkew     = 30 * time.Second
	ocspShort    = time.Minute // how long an answer is good that does not say
)

// OCSP asks responders, and remembers what they said for as long as they said
// it holds. Answers are believed by their signature, so that plain HTTP does.
// Safe for concurrent use.
type OCSP struct {
	cfg    OCSPConfig
	client http.Client

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	asking sync.WaitGroup

	mu      sync.Mutex
	answers map[ocspID]*ocspAnswer
	flying  int
}

// ocspID is a certificate, by its issuer's name and key, and its serial number.
type ocspID [sha256.Size]byte

// ocspAnswer is the last that was heard of one certificate, and the question that
// is under way.
type ocspAnswer struct {
	said    standing  // the zero one: nothing yet
	refresh time.Time // when to ask again
	expires time.Time // when said holds no longer
	asked   chan struct{}
}

// NewOCSP makes an OCSP. Close ends it.
func NewOCSP(cfg OCSPConfig) *OCSP {
	o := &OCSP{cfg: cfg, answers: map[ocspID]*ocspAnswer{}}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.client = http.Client{
		Transport:     newTransport(nil, dial.Rules{Own: cfg.Own, Timeout: ocspTimeout}),
		Timeout:       ocspTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return o
}

// Start does nothing: a question is asked when somebody wants to know.
func (o *OCSP) Start() {}

// Close ends all questions and waits for them.
func (o *OCSP) Close() {
	o.mu.Lock() // no question begins after this
	o.cancel()
	o.mu.Unlock()
	o.asking.Wait()
}

// standing returns what is known of a certificate. It waits for an answer
// only if there is none that holds, and at most until ctx is done. Many who
// ask about one certificate are one question.
func (o *OCSP) standing(ctx context.Context, cert, issuer *x509.Certificate, now time.Time) standing {
	h := sha256.New()
	for _, part := range [][]byte{issuer.RawSubject, issuer.RawSubjectPublicKeyInfo, cert.SerialNumber.Bytes()} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	id := ocspID(h.Sum(nil))
	o.mu.Lock()
	a := o.answers[id]
	if a == nil {
		if len(o.answers) >= ocspAnswers && !o.makeRoom(now) {
			o.mu.Unlock()
			return silent(now, "too many certificates are asked about at once")
		}
		a = &ocspAnswer{}
		o.answers[id] = a
	}
	if a.asked == nil && !now.Before(a.refresh) {
		if o.flying >= ocspInFlight || o.ctx.Err() != nil {
			if now.Before(a.expires) {
				s := a.said
				s.until = now.Add(maxUnheard)
				o.mu.Unlock()
				return s
			}
			o.mu.Unlock()
			return silent(now, "too many questions wait for responders")
		}
		o.flying++
		a.asked = make(chan struct{})
		o.asking.Go(func() { o.ask(a, cert, issuer, now) })
	}
	asked := a.asked
	if now.Before(a.expires) {
		s := a.said
		s.until = a.refresh
		if asked != nil {
			s.until = now.Add(maxUnheard)
		}
		o.mu.Unlock()
		return s
	}
	o.mu.Unlock()
	if asked != nil {
		select {
		case <-asked:
		case <-ctx.Done():
			return silent(now, "the responder has not answered yet")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !now.Before(a.expires) {
		s := silent(now, a.said.reason)
		s.until = a.refresh
		return s
	}
	s := a.said
	s.until = a.refresh
	return s
}

func silent(now time.Time, reason string) standing {
	return standing{until: now.Add(maxUnheard), reason: reason}
}

// makeRoom forgets what holds no longer, or else anything: it can be asked
// for again.
func (o *OCSP) makeRoom(now time.Time) bool {
	var any *ocspID
	for id, a := range o.answers {
		if a.asked != nil {
			continue
		}
		if !now.Before(a.expires) {
			delete(o.answers, id)
		} else if any == nil {
			any = &id
		}
	}
	if len(o.answers) >= ocspAnswers && any != nil {
		delete(o.answers, *any)
	}
	return len(o.answers) < ocspAnswers
}

// ask puts one question, and notes the answer. Without one, what was said
// before stays for as long as it holds.
func (o *OCSP) ask(a *ocspAnswer, cert, issuer *x509.Certificate, now time.Time) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(o.ctx, ocspTimeout)
	defer cancel()
	said, expires, err := o.fetch(ctx, cert, issuer, now)
	if err != nil && o.ctx.Err() == nil {
		o.cfg.Log.Warn("nobody says whether a client certificate was revoked", "subject", cert.Subject.String(), "serial", cert.SerialNumber.Text(16), "error", err)
	}
	now = now.Add(time.Since(began))
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		a.refresh = now.Add(ocspRetry)
		if !now.Before(a.expires) {
			a.said.reason = err.Error()
		}
	} else {
		a.said, a.expires = said, expires
		a.refresh = now.Add(min(ocspRefresh, expires.Sub(now)/2))
	}
	close(a.asked)
	a.asked = nil
	o.flying--
}

// responder returns whom to ask about a certificate.
func (o *OCSP) responder(cert *x509.Certificate) (string, error) {
	if o.cfg.URL != "" {
		return o.cfg.URL, nil
	}
	for _, raw := range cert.OCSPServer {
		if u, err := url.Parse(raw); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil {
			return raw, nil
		}
	}
	return "", fmt.Errorf("%.100q names no responder by http or https", cert.Subject)
}

// fetch asks the responder.
func (o *OCSP) fetch(ctx context.Context, cert, issuer *x509.Certificate, now time.Time) (s standing, expires time.Time, err error) {
	at, err := o.responder(cert)
	if err != nil {
		return s, expires, err
	}
	question, err := ocsp.CreateRequest(cert, issuer, nil) // by SHA-1, which all responders know; it is a name, not a proof
	if err != nil {
		return s, expires, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(question))
	if err != nil {
		return s, expires, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	req.Header.Set("Accept", "application/ocsp-response")
	resp, err := o.client.Do(req)
	if err != nil {
		return s, expires, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, expires, fmt.Errorf("%.200s answers with status %d", at, resp.StatusCode)
	}
	der, err := io.ReadAll(io.LimitReader(resp.Body, ocspBytes+1))
	switch {
	case err != nil:
		return s, expires, fmt.Errorf("%.200s: %w", at, err)
	case len(der) > ocspBytes:
		return s, expires, fmt.Errorf("%.200s answers with more than %d bytes", at, ocspBytes)
	}
	if s, expires, err = readOCSP(der, cert, issuer, now); err != nil {
		err = fmt.Errorf("%.200s: %w", at, err)
	}
	return s, expires, err
}

// readOCSP judges an answer: that it speaks of the certificate, now, and was
// signed by the issuer or by whom the issuer has appointed (RFC 6960 section
// 4.2.2.2).
func readOCSP(der []byte, cert, issuer *x509.Certificate, now time.Time) (s standing, expires time.Time, err error) {
	r, err := ocsp.ParseResponseForCert(der, cert, issuer)
	if err != nil {
		return s, expires, err
	}
	// The parser holds the signatures; it does not ask whether the signer may.
	if by := r.Certificate; by != nil && !bytes.Equal(by.Raw, issuer.Raw) {
		switch {
		case !slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
			return s, expires, errors.New("the answer is signed by a certificate that is not for signing answers")
		case now.Before(by.NotBefore) || now.After(by.NotAfter):
			return s, expires, errors.New("the answer is signed by a certificate that is not in force")
		case !bytes.Equal(by.RawIssuer, issuer.RawSubject) || by.CheckSignatureFrom(issuer) != nil:
			return s, expires, errors.New("the answer is signed by somebody whom the CA has not appointed")
		case weakKey(by) != "":
			return s, expires, errors.New("the answer is signed with " + weakKey(by))
		}
	}
	switch r.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
		return s, expires, fmt.Errorf("the answer is signed with %v, which is not believed", r.SignatureAlgorithm)
	}
	if r.IssuerHash != crypto.SHA1 {
		return s, expires, errors.New("the answer names the CA in another way than the question")
	}
	expires = r.NextUpdate
	if expires.IsZero() {
		expires = r.ThisUpdate.Add(ocspShort)
	}
	switch {
	case r.ThisUpdate.After(now.Add(ocspSkew)):
		return s, expires, fmt.Errorf("the answer is of %s, which is still to come", r.ThisUpdate.Format(time.RFC3339))
	case !now.Before(expires):
		return s, expires, fmt.Errorf("the answer has expired on %s", expires.Format(time.RFC3339))
	}
	switch r.Status {
	case ocsp.Good:
		return standing{state: good}, expires, nil
	case ocsp.Revoked:
		return standing{state: revoked, reason: fmt.Sprintf("the CA revoked %.100q on %s", cert.Subject, r.RevokedAt.Format(time.DateOnly))}, expires, nil
	}
	return s, expires, fmt.Errorf("the responder does not know %.100q", cert.Subject)
}
