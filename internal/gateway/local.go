package gateway

import (
	"bytes"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// local answers by a handler of our own: the authorization server and
// logins.
func (g *Gateway) local(x *exchange.Exchange, sink exchange.Sink, r *snapshot.Route) fault.Code {
	req, err := request(x)
	if err != nil {
		x.Reason = "the target of a request of ours is no URI" // the error would repeat it
		g.refuse(x, sink, fault.RequestMalformed)
		return fault.RequestMalformed
	}
	w := &localWriter{x: x, sink: sink, header: http.Header{}, head: req.Method == http.MethodHead, code: none, noted: none}
	r.Local.ServeHTTP(w, req)
	if w.code != none {
		w.edit()
		g.refusePerson(x, sink, w.code, w.back)
		return w.code
	}
	if err := w.finish(); err != nil {
		return g.clientGone(x, err)
	}
	return w.noted
}

// request makes a net/http request of an exchange.
func request(x *exchange.Exchange) (*http.Request, error) {
	target := string(x.Req.Path)
	if x.Req.HasQuery {
		target += "?" + string(x.Req.Query)
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, err
	}
	// Handlers that write URLs of ours go by what the browser asked for.
	u.Scheme, u.Host = "http", string(x.Req.Authority)
	if x.Secure {
		u.Scheme = "https"
	}
	if x.ForwardedHost != nil {
		u.Host = string(x.ForwardedHost)
	}
	r := (&http.Request{
		Method: string(x.Req.Method), URL: u, RequestURI: target,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Host: string(x.Req.Authority),
		ContentLength: x.Req.Length, Body: bodyReader{x.ReqBody},
		RemoteAddr: netip.AddrPortFrom(x.Client, 0).String(), TLS: x.Conn.TLS,
	}).WithContext(x.Context())
	for i := range x.Req.Fields {
		if f := &x.Req.Fields[i]; !f.Drop && !f.ID.HopByHop() && f.ID != exchange.HeaderHost {
			name := http.CanonicalHeaderKey(string(f.Name))
			r.Header[name] = append(r.Header[name], string(f.Value))
		}
	}
	return r, nil
}

type bodyReader struct{ exchange.Body }

func (bodyReader) Close() error { return nil }

// localWriter is the http.ResponseWriter of a local handler. Answers of ours
// are small: they are held whole, so that they go out in one write with their
// exact length.
type localWriter struct {
	x      *exchange.Exchange
	sink   exchange.Sink
	header http.Header
	status int
	noted  fault.Code // why an answer of the handler's own is a refusal; none: it is not
	body   bytes.Buffer
	head   bool
	code   fault.Code // of a refusal; none: the handler has answered
	back   string     // where to begin anew
}

// Refuse has the request refused with the page of its code, in place of an
// answer. The reason is for the operator. Fields that were set stay; those of
// every refusal are set anew.
func (w *localWriter) Refuse(code fault.Code, reason, back string) {
	w.code, w.x.Reason, w.back = code, reason, back
	w.x.RetryAfter = 5 * time.Second
}

func (w *localWriter) Header() http.Header { return w.header }

// Refused notes that the handler's own answer is a refusal, and why.
func (w *localWriter) Refused(code fault.Code, reason string) { w.noted, w.x.Reason = code, reason }

// Happened notes an event of security, a constant.
func (w *localWriter) Happened(event string) { w.x.Event = event }

func (w *localWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *localWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

func (w *localWriter) finish() error {
	w.WriteHeader(http.StatusOK)
	w.x.Resp.Reset()
	w.x.Resp.Status = w.status
	w.edit()
	w.x.RespEdit.SetKnown(exchange.HeaderRequestID, w.x.IDText())
	pin(w.x)
	body := w.body.Bytes()
	if w.head {
		body = nil
	}
	if err := w.sink.Head(&w.x.Resp, &w.x.RespEdit, int64(w.body.Len()), body); err != nil {
		return err
	}
	w.x.BytesOut += int64(len(body))
	return w.sink.Finish(nil)
}

func (w *localWriter) edit() {
	for name, values := range w.header {
		for _, v := range values {
			w.x.RespEdit.Add(name, []byte(v))
		}
	}
}
