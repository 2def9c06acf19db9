package keys

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/dial"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// Bounds of introspection.
const (
	introspectTimeout = 2 * time.Second // of one call, discovery included, unless configured
	maxFlights        = 64              // calls at once
	plentyFlights     = 32              // so many may all be of one network
	networkFlights    = 8               // of one network, beyond that
	maxAnswerBytes    = 64 << 10
	maxEndpoint       = 2 << 10          // bytes of a URL that was discovered
	maxNegative       = 10 * time.Second // how long a bad token is remembered
	tellEvery         = time.Minute      // between two outages that the log is told of
)

// IntrospectorConfig says whom to ask about opaque tokens, and as whom.
type IntrospectorConfig struct {
	Issuer   string         // iss, byte for byte
	Endpoint string         // "": by discovery
	CAPool   *x509.CertPool // nil: the system's
	Own      []uint16       // loopback ports of our own surfaces: never dialled
	Auth     *ClientAuth
	Cache    time.Duration // how long an answer is believed; 0: it is not remembered
	Within   time.Duration // how long one call may take; 0: two seconds
	Log      *slog.Logger  // nil: silent
}

// Introspector asks an issuer about tokens (RFC 7662), and remembers for a
// short time what it said. At most one call is on its way for each token, at
// most 64 in all, none longer than Within. Whatever is no good answer is
// an outage: it says nothing about a token and is not remembered. Safe for
// concurrent use.
type Introspector struct {
	cfg           IntrospectorConfig
	secure, plain *http.Transport

	// Apart, so that what strangers make up pushes no good token out. Both are
	// asked by the names that good gives.
	good, bad *Verdicts
	vouches   *Key // dies when this is closed, and all that was said with it

	discovery chan struct{} // held by who uses source and found
	source    source
	found     string // introspection_endpoint of the issuer's document
	foundAt   time.Time

	mu      sync.Mutex
	flights map[VerdictID]*flight
	of      map[netip.Prefix]int // flights of each network

	told   bool      // the operator knows of an outage; guarded by mu
	toldAt time.Time // when it was last told of; guarded by mu

	ctx  context.Context
	stop context.CancelFunc
	done sync.WaitGroup
}

// flight is one call and those who wait for it.
type flight struct {
	from  netip.Prefix
	over  chan struct{} // closed when value and err are there
	value Remembered
	err   error
}

// Conclusion is what follows from an issuer's answer.
type Conclusion struct {
	Value   Remembered // made for this answer; never changes afterwards
	Good    bool       // the token is one to be let in; else it is forgotten after ten seconds at most
	Expires time.Time  // of the token, where it is good
	Size    int        // about how many bytes Value holds
}

// NewIntrospector returns an Introspector. It calls nobody until it is asked.
func NewIntrospector(cfg IntrospectorConfig) *Introspector {
	i := &Introspector{
		cfg:  cfg,
		good: NewVerdicts(), bad: NewVerdicts(), vouches: &Key{},
		discovery: make(chan struct{}, 1),
		source:    newSource(RemoteConfig{Issuer: cfg.Issuer, CAPool: cfg.CAPool, Own: cfg.Own}),
		flights:   map[VerdictID]*flight{},
		of:        map[netip.Prefix]int{},
	}
	if i.cfg.Log == nil {
		i.cfg.Log = slog.New(slog.DiscardHandler)
	}
	if i.cfg.Within == 0 {
		i.cfg.Within = introspectTimeout
	}
	i.vouches.alive.Store(true)
	i.secure = newTransport(cfg.CAPool, dial.Rules{Own: cfg.Own, Timeout: i.cfg.Within})
	i.plain = newTransport(cfg.CAPool, dial.Rules{Own: cfg.Own, Timeout: i.cfg.Within, LoopbackOnly: true})
	for _, t := range []*http.Transport{i.secure, i.plain} {
		t.TLSClientConfig.Certificates = cfg.Auth.certificates()
		t.DisableKeepAlives = false
		t.MaxIdleConnsPerHost = 16
		t.IdleConnTimeout = 30 * time.Second
	}
	i.ctx, i.stop = context.WithCancel(context.Background())
	return i
}

// Start does nothing: an Introspector works when it is asked.
func (i *Introspector) Start() {}

// Close ends every call, forgets all that was said, and returns when all is
// still.
func (i *Introspector) Close() {
	i.mu.Lock()
	i.stop()
	i.mu.Unlock()
	i.done.Wait()
	i.vouches.alive.Store(false)
	i.secure.CloseIdleConnections()
	i.plain.CloseIdleConnections()
}

// Name is Verdicts.Name, for the VerdictIDs that i is asked by.
func (i *Introspector) Name(token, room []byte) [NameSize]byte { return i.good.Name(token, room) }

// Known returns what was concluded under id, nil if nothing is remembered.
func (i *Introspector) Known(id *VerdictID, now time.Time) Remembered {
	if v := i.good.Get(id, now); v != nil {
		return v
	}
	return i.bad.Get(id, now)
}

// Ask returns what conclude makes of the issuer's answer about token, which id
// names. now is the time from which the answer is remembered. Errors are
// *fault.Error, identity_unavailable, rate_limited, or what begin returned.
//
// from is the network of the caller. While calls are scarce none has more than
// a few of them: whoever sends tokens about which the issuer is slow leaves
// room for others.
//
// begin is called before a call is made on behalf of this caller, and may
// refuse it; not when the caller waits for the call of another. conclude is
// called once for a call, by another goroutine, with the members of the
// answer; of a token that is not active they mean nothing.
func (i *Introspector) Ask(ctx context.Context, from netip.Prefix, id *VerdictID, token string, now time.Time, begin func() error, conclude func(active bool, answer exchange.Claims) Conclusion) (Remembered, error) {
	for {
		f, fresh, known, err := i.join(from, id, now)
		if f == nil {
			return known, err
		}
		if fresh {
			if err := i.mayBegin(f, id, begin); err != nil {
				return nil, err
			}
			i.launch(f, *id, token, now, conclude)
		}
		select {
		case <-f.over:
			if f.err == errAbandoned {
				continue // who began it may not; this caller may
			}
			return f.value, f.err
		case <-ctx.Done():
			return nil, fault.New(fault.IdentityUnavailable, "nobody waits for the issuer's answer any longer").Because(context.Cause(ctx))
		}
	}
}

// mayBegin asks begin, and ends the flight if it may not, or panics.
func (i *Introspector) mayBegin(f *flight, id *VerdictID, begin func() error) (err error) {
	may := false
	defer func() {
		if !may {
			i.end(f, id, nil, errAbandoned)
		}
	}()
	err = begin()
	may = err == nil
	return err
}

// errAbandoned ends a flight that was never begun.
var errAbandoned = errors.New("abandoned")

// join returns the call for id that is on its way, or a fresh one that the
// caller has to launch or to end. It returns none if the answer came meanwhile,
// or if there is no room.
func (i *Introspector) join(from netip.Prefix, id *VerdictID, now time.Time) (f *flight, fresh bool, known Remembered, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if f := i.flights[*id]; f != nil {
		return f, false, nil, nil
	}
	if known := i.Known(id, now); known != nil {
		return nil, false, known, nil
	}
	switch {
	case len(i.flights) >= plentyFlights && i.of[from] >= networkFlights:
		return nil, false, nil, fault.New(fault.RateLimited, fmt.Sprintf("%d calls to the issuer are on their way already, %d of them for this network", len(i.flights), i.of[from]))
	case len(i.flights) >= maxFlights:
		return nil, false, nil, fault.New(fault.IdentityUnavailable, fmt.Sprintf("%d calls to the issuer are on their way already", maxFlights))
	}
	f = &flight{from: from, over: make(chan struct{})}
	i.flights[*id] = f
	i.of[from]++
	return f, true, nil, nil
}

// launch sends a flight on its way, unless this is closed.
func (i *Introspector) launch(f *flight, id VerdictID, token string, now time.Time, conclude func(bool, exchange.Claims) Conclusion) {
	i.mu.Lock()
	open := i.ctx.Err() == nil
	if open {
		i.done.Go(func() { i.fly(f, &id, token, now, conclude) })
	}
	i.mu.Unlock()
	if !open {
		i.end(f, &id, nil, fault.New(fault.IdentityUnavailable, "the configuration that would ask is no longer in force"))
	}
}

// end makes known how a flight ended.
func (i *Introspector) end(f *flight, id *VerdictID, value Remembered, err error) {
	f.value, f.err = value, err
	i.mu.Lock()
	delete(i.flights, *id)
	if i.of[f.from]--; i.of[f.from] == 0 {
		delete(i.of, f.from)
	}
	i.mu.Unlock()
	close(f.over)
}

func (i *Introspector) fly(f *flight, id *VerdictID, token string, now time.Time, conclude func(bool, exchange.Claims) Conclusion) {
	defer func() {
		if bug := recover(); bug != nil { // what strangers and issuers write must not end the process
			i.cfg.Log.Error("panic while introspecting a token", "iss", i.cfg.Issuer, "panic", fmt.Sprint(bug), "stack", string(debug.Stack()))
			i.end(f, id, nil, fault.New(fault.IdentityUnavailable, "a bug in the gateway; the application log has its stack"))
		}
	}()
	ctx, cancel := context.WithTimeout(i.ctx, i.cfg.Within)
	defer cancel()
	active, answer, err := i.call(ctx, token)
	i.report(err)
	if err != nil {
		i.end(f, id, nil, fault.New(fault.IdentityUnavailable, "the issuer could not be asked").Because(err))
		return
	}
	c := conclude(active, answer)
	i.remember(id, now, &c)
	i.end(f, id, c.Value, nil)
}

// report tells the operator of an outage, and of its end; of one in a minute
// at most. Strangers may cause calls that fail, with tokens of a form that the
// issuer does not like.
func (i *Introspector) report(err error) {
	if i.ctx.Err() != nil {
		return
	}
	now := time.Now()
	i.mu.Lock()
	began := err != nil && !i.told && (i.toldAt.IsZero() || now.Sub(i.toldAt) >= tellEvery)
	ended := err == nil && i.told
	if began {
		i.told, i.toldAt = true, now
	} else if ended {
		i.told = false
	}
	i.mu.Unlock()
	switch {
	case began:
		i.cfg.Log.Warn("tokens not introspected", "iss", i.cfg.Issuer, "error", err.Error())
	case ended:
		i.cfg.Log.Info("tokens introspected again", "iss", i.cfg.Issuer)
	}
}

// remember keeps a conclusion, counting from when the issuer was asked.
func (i *Introspector) remember(id *VerdictID, asked time.Time, c *Conclusion) {
	memory, until := i.bad, asked.Add(min(i.cfg.Cache, maxNegative))
	if c.Good {
		memory, until = i.good, asked.Add(i.cfg.Cache)
		if c.Expires.Before(until) {
			until = c.Expires
		}
	}
	memory.Put(id, c.Value, i.vouches, asked, until, c.Size)
}

// call asks the issuer once.
func (i *Introspector) call(ctx context.Context, token string) (active bool, answer exchange.Claims, err error) {
	at := i.cfg.Endpoint
	if at == "" {
		if at, err = i.discover(ctx); err != nil {
			return false, nil, fmt.Errorf("discovery: %w", err)
		}
	}
	plain, err := checkURL(at)
	if err != nil {
		return false, nil, err
	}
	if plain && i.cfg.Auth.certificates() != nil {
		return false, nil, fmt.Errorf("%s is not https: no certificate can be shown there", at)
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	header := http.Header{
		"Accept": {"application/json"}, "Content-Type": {"application/x-www-form-urlencoded"},
		// Says to the transport, and to nobody else, that asking twice is no
		// harm: a kept connection may have been closed at the other end.
		"Idempotency-Key": nil,
	}
	if err := i.cfg.Auth.Prove(header, form, time.Now()); err != nil {
		return false, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return false, nil, err
	}
	req.Header = header
	transport := i.secure
	if plain {
		transport = i.plain
	}
	resp, err := transport.RoundTrip(req) // which follows no redirect
	if err != nil {
		return false, nil, fmt.Errorf("%s: %w", at, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusBadRequest:
		// The endpoint is there. It is not looked up again: what a stranger sends
		// may be what it does not like.
		return false, nil, fmt.Errorf("%s answers with status %d: it may not take our client id or its proof", at, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		i.forgetEndpoint()
		return false, nil, fmt.Errorf("%s answers with status %d", at, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return false, nil, fmt.Errorf("%s: %w", at, err)
	case len(body) > maxAnswerBytes:
		return false, nil, fmt.Errorf("%s: the answer is larger than %d bytes", at, maxAnswerBytes)
	}
	if active, answer, err = ParseIntrospection(body); err != nil {
		return false, nil, fmt.Errorf("%s: the answer %w", at, err)
	}
	return active, answer, nil
}

// ParseIntrospection reads an introspection response (RFC 7662 section 2.2):
// a JSON object, as strictly read as claims are, whose member active is true
// or false. The caller bounds the size.
func ParseIntrospection(body []byte) (active bool, answer exchange.Claims, err error) {
	if answer, err = exchange.ParseClaims(body); err != nil {
		return false, nil, err
	}
	switch raw, _ := answer.Get("active"); raw {
	case "true":
		return true, answer, nil
	case "false":
		return false, nil, nil
	}
	return false, nil, errors.New("has no member active that is true or false")
}

// discover returns the issuer's introspection_endpoint (RFC 8414 section 2),
// the one for clients with a certificate if we show one (RFC 8705 section 5).
func (i *Introspector) discover(ctx context.Context) (string, error) {
	select {
	case i.discovery <- struct{}{}:
		defer func() { <-i.discovery }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if i.found != "" && time.Since(i.foundAt) < rediscover {
		return i.found, nil
	}
	doc, secure, err := i.source.document(ctx)
	if err != nil {
		return "", err
	}
	at := text(doc, "introspection_endpoint")
	if i.cfg.Auth.certificates() != nil {
		if alias, ok := doc.String("mtls_endpoint_aliases.introspection_endpoint"); ok {
			at = alias
		}
	}
	switch {
	case at == "":
		return "", errors.New("the document has no introspection_endpoint; write introspection.endpoint")
	case len(at) > maxEndpoint:
		return "", fmt.Errorf("the document's introspection_endpoint is longer than %d bytes", maxEndpoint)
	case secure && !strings.HasPrefix(at, "https:"):
		return "", errors.New("the document was fetched by https and its introspection_endpoint is not https")
	}
	i.found, i.foundAt = at, time.Now()
	return at, nil
}

// forgetEndpoint has the endpoint looked up again, since it may have moved. It
// does not wait for one who is looking it up.
func (i *Introspector) forgetEndpoint() {
	select {
	case i.discovery <- struct{}{}:
		i.found = ""
		<-i.discovery
	default:
	}
}
