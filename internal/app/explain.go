package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/admin"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/http1"
	"github.com/warder-gateway/warder/internal/pipeline"
	"github.com/warder-gateway/warder/internal/scalar"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// explainer answers the questions of the admin surface.
type explainer struct {
	live    *snapshot.Live
	records *events.Recorder
}

// Past implements admin.Explainer.
func (e *explainer) Past(id string) (*events.Explanation, error) {
	if id == "last" {
		if r, ok := e.records.Last(); ok {
			return e.explain(r), nil
		}
		return nil, fmt.Errorf("request %w: none came since the start", admin.ErrNotFound)
	}
	want, ok := exchange.ParseRequestID(id)
	if !ok {
		return nil, errors.New("a request id is 32 hexadecimal digits, as X-Request-Id says it")
	}
	if r, ok := e.records.Find(want); ok {
		return e.explain(r), nil
	}
	return nil, fmt.Errorf("request %w: it is older than what is remembered, or went to another gateway", admin.ErrNotFound)
}

// explain explains a record of the past. Where there was no route, it names
// the nearest of those in force now.
func (e *explainer) explain(r *events.Record) *events.Explanation {
	out := events.Explain(r)
	if snap := e.live.Acquire(); snap != nil {
		defer snap.Release()
		if r.Code == fault.RouteUnknown && r.Route == "" {
			out.Mend = nearest(snap, out.Host, out.Path)
		}
	}
	return out
}

// Judge implements admin.Explainer. The engine's own rules come first, so that
// what it would not accept is refused here too; then the one decision function judges it in a world where counters are
// only looked at and nothing is fetched.
func (e *explainer) Judge(q admin.Question) (*events.Explanation, error) {
	var head exchange.Head
	head.Reset()
	if err := compose(&head, q); err != nil {
		return nil, err
	}
	var err error
	from := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if q.Client != "" {
		if from, err = netip.ParseAddr(q.Client); err != nil {
			return nil, fmt.Errorf("%q is no address", q.Client)
		}
	}
	snap := e.live.Acquire()
	if snap == nil {
		return nil, errors.New("the gateway is shutting down")
	}
	defer snap.Release()
	secure := strings.HasPrefix(q.URL, "https:")
	l := snap.ListenerFor(secure, portOf(&head, secure))
	if l == nil {
		return nil, fmt.Errorf("no listener takes %s, or it cannot be told which: name the port of one in the URL", q.URL)
	}
	// Over a plain listener, only a trusted proxy can have spoken TLS for us.
	secure = secure && (l.TLS != nil || l.Front != nil || !l.Exposed)
	x := &exchange.Exchange{Start: time.Now(), Client: from, Secure: secure, Conn: &exchange.Conn{Listener: l.Name, PublicURL: l.PublicURL, Exposed: l.Exposed, Redirect: l.Redirect}}
	x.Req = head
	code := fault.None
	if f := http1.Accept(&x.Req); f != nil {
		code, x.Reason = f.Code, f.Reason
	} else {
		w := pipeline.World{Now: x.Start, Counters: pipeline.Look(snap.Counters)}
		_, verdict := snap.Decide(x, &w)
		code = verdict.Code()
	}
	rec := events.Capture(x, snap.Legend(), code, 0)
	out := events.Explain(&rec)
	out.MadeUp, out.ID = true, ""
	if code == fault.RouteUnknown {
		out.Mend = nearest(snap, out.Host, out.Path)
	}
	return out, nil
}

// portOf returns the port that a question names, or the usual one.
func portOf(h *exchange.Head, secure bool) string {
	host, _ := h.GetName("host")
	if _, port, err := net.SplitHostPort(string(host)); err == nil {
		return port
	}
	if secure {
		return "443"
	}
	return "80"
}

// compose makes a request head of a question. The URL is cut by hand: a
// parser would mend what is to be judged.
func compose(h *exchange.Head, q admin.Question) error {
	rest, ok := strings.CutPrefix(q.URL, "http://")
	if !ok {
		if rest, ok = strings.CutPrefix(q.URL, "https://"); !ok {
			return errors.New("the URL must begin with http:// or https://")
		}
	}
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
		if target[0] == '?' {
			target = "/" + target
		}
	}
	h.Method, h.Target, h.Major, h.Minor = []byte(q.Method), []byte(target), 1, 1
	add := func(name, value string) {
		h.Fields = append(h.Fields, exchange.Field{Name: []byte(name), Value: []byte(value), ID: exchange.IdentifyString(name)})
	}
	add("Host", host)
	for _, line := range q.Headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("the header %q has no colon; write 'Name: value'", name)
		}
		add(name, strings.TrimSpace(value))
	}
	return nil
}

// RouteDetail is what explain route prints: a route as it was compiled.
type RouteDetail struct {
	Name     string   `json:"name"`
	Host     string   `json:"host,omitempty"`
	Path     string   `json:"path"`
	Methods  []string `json:"methods"`
	Upstream string   `json:"upstream"`
	Checks   []Fact   `json:"checks"` // in the order in which they are asked
	Bounds   []Fact   `json:"bounds"`
}

// Fact is a name and a value.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Route implements admin.Explainer.
func (e *explainer) Route(name string) (any, error) {
	snap := e.live.Acquire()
	if snap == nil {
		return nil, errors.New("the gateway is shutting down")
	}
	defer snap.Release()
	var names []string
	for i := range snap.Routes() {
		r := &snap.Routes()[i]
		if r.Local == nil {
			names = append(names, r.Labels.Name)
		}
		if r.Labels.Name != name {
			continue
		}
		d := &RouteDetail{Name: name, Host: r.Labels.Host, Path: r.Labels.Pattern, Methods: r.Methods, Upstream: r.Target, Bounds: bounds(r)}
		for _, p := range r.Policies {
			words := strings.TrimSpace(p.Check.Name + " " + p.Check.Want)
			d.Checks = append(d.Checks, Fact{p.Check.Phase, words + "  (from " + p.From + ")"})
		}
		return d, nil
	}
	const most = 20
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return nil, fmt.Errorf("route %w: the routes are %s", admin.ErrNotFound, strings.Join(names, ", "))
}

func bounds(r *snapshot.Route) []Fact {
	text := func(d time.Duration) string {
		if d == 0 {
			return "unlimited"
		}
		return scalar.Duration(d).String()
	}
	t := r.Timeouts
	all := []Fact{{"body.maxSize", fmt.Sprint(scalar.Size(r.MaxBody))}}
	if r.Local == nil {
		all = append(all,
			Fact{"timeout.connect", text(t.Connect)}, Fact{"timeout.firstByte", text(t.FirstByte)},
			Fact{"timeout.idle", text(t.Idle)}, Fact{"timeout.total", text(t.Total)})
	}
	if len(r.Upgrades) > 0 {
		all = append(all, Fact{"upgrade", strings.Join(r.Upgrades, ", ")}, Fact{"timeout.total of a tunnel", text(t.Tunnel)})
	}
	return all
}
