package gateway

import (
	"bytes"
	"html"
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

// refuse writes the refusal page: a problem document (RFC 9457) made of
// constants and the request id, so that nothing of the request can show up in
// it. Callers of gRPC get a status of theirs instead. Response edits made so
// far are kept. It returns false when nothing could be sent any more.
func (g *Gateway) refuse(x *exchange.Exchange, sink exchange.Sink, code fault.Code) bool {
	return g.refusePerson(x, sink, code, "")
}

// refusePerson is refuse for what may be shown to somebody who can begin anew,
// at a path of ours; "": nowhere.
func (g *Gateway) refusePerson(x *exchange.Exchange, sink exchange.Sink, code fault.Code, back string) bool {
	x.Resp.Reset()
	x.Resp.Status = code.Status()
	e := &x.RespEdit
	if x.LoginAt != nil && code.Status() == 401 {
		return sendToLogin(x, sink)
	}
	e.Set("Cache-Control", []byte("no-store"))
	e.Set("X-Content-Type-Options", []byte("nosniff"))
	e.SetKnown(exchange.HeaderRequestID, x.IDText())
	pin(x)
	for _, challenge := range x.Challenges {
		if strings.HasPrefix(challenge, "Basic ") && scripted(&x.Req) {
			continue
		}
		e.Add("WWW-Authenticate", []byte(challenge))
	}
	if code == fault.MethodNotAllowed && x.Allow != "" {
		e.Set("Allow", []byte(x.Allow))
	}
	wait := int64(0)
	if status := code.Status(); status == 429 || status == 503 {
		wait = max(1, int64((x.RetryAfter+time.Second-1)/time.Second))
		e.Set("Retry-After", strconv.AppendInt(x.Alloc(20)[:0], wait, 10))
	}
	if asksGRPC(&x.Req) {
		return refuseGRPC(x, sink, code)
	}
	var page []byte
	switch form := insists(&x.Req); form {
	case "text/html":
		e.Set("Content-Type", []byte("text/html; charset=utf-8"))
		e.Set("Content-Security-Policy", []byte(fault.PagePolicy))
		e.Set("X-Frame-Options", []byte("DENY"))
		page = code.AppendPage(nil, x.IDText(), wait, html.EscapeString(back))
	case "text/plain":
		e.Set("Content-Type", []byte("text/plain; charset=utf-8"))
		e.Set("Content-Security-Policy", []byte("default-src 'none'"))
		page = plainPage(x, code)
	default:
		e.Set("Content-Type", []byte("application/problem+json"))
		page = problem(x, code)
	}
	body := page
	if string(x.Req.Method) == "HEAD" {
		body = nil
	}
	if err := sink.Head(&x.Resp, e, int64(len(page)), body); err != nil {
		return false
	}
	x.BytesOut += int64(len(body))
	return sink.Finish(nil) == nil
}

// scripted reports whether a script in a page asked. A browser that is
// challenged for Basic then would show a dialog of its own over the page.
func scripted(h *exchange.Head) bool {
	with, _ := h.Get(exchange.HeaderXRequestedWith)
	mode, n := h.Get(exchange.HeaderSecFetchMode)
	return exchange.EqualFold(with, "xmlhttprequest") || n > 0 && !exchange.EqualFold(mode, "navigate")
}

// sendToLogin has a browser that navigates log in instead of showing it a 401.
func sendToLogin(x *exchange.Exchange, sink exchange.Sink) bool {
	x.Resp.Status = 302
	e := &x.RespEdit
	e.Set("Location", x.LoginAt)
	e.Set("Cache-Control", []byte("no-store"))
	e.SetKnown(exchange.HeaderRequestID, x.IDText())
	pin(x)
	if err := sink.Head(&x.Resp, e, 0, nil); err != nil {
		return false
	}
	return sink.Finish(nil) == nil
}

// problem writes the JSON form. Every text in it is a constant of the
// catalogue that needs no escaping (a test says so), or the request id.
func problem(x *exchange.Exchange, code fault.Code) []byte {
	public := code.Public().String()
	b := x.Alloc(512)[:0]
	b = append(b, `{"type":"urn:warder:refusal:`...)
	b = append(b, public...)
	b = append(b, `","title":"`...)
	b = append(b, code.Detail()...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(code.Status()), 10)
	b = append(b, `,"code":"`...)
	b = append(b, public...)
	b = append(b, `","requestId":"`...)
	b = append(b, x.IDText()...)
	return append(b, "\"}\n"...)
}

func plainPage(x *exchange.Exchange, code fault.Code) []byte {
	b := x.Alloc(512)[:0]
	b = append(b, code.Detail()...)
	b = append(b, " ("...)
	b = append(b, code.Public().String()...)
	b = append(b, ", request "...)
	b = append(b, x.IDText()...)
	return append(b, ")\n"...)
}

// insists returns text/html or text/plain if the client accepts that and no
// JSON at all; otherwise "". A browser accepts everything, and insists on HTML
// where it says that it will show its user the answer.
func insists(h *exchange.Head) (form string) {
	mode, _ := h.Get(exchange.HeaderSecFetchMode)
	shown := string(mode) == "navigate"
	for i := range h.Fields {
		if h.Fields[i].ID != exchange.HeaderAccept {
			continue
		}
		for item := range bytes.SplitSeq(h.Fields[i].Value, []byte(",")) {
			media, _, _ := bytes.Cut(item, []byte(";"))
			media = bytes.TrimSpace(media)
			switch {
			case shown && form == "" && exchange.EqualFold(media, "text/html"):
				return "text/html"
			case exchange.EqualFold(media, "*/*"), exchange.EqualFold(media, "application/*"),
				exchange.EqualFold(media, "application/json"), exchange.EqualFold(media, "application/problem+json"):
				return ""
			case form == "" && exchange.EqualFold(media, "text/html"):
				form = "text/html"
			case form == "" && (exchange.EqualFold(media, "text/plain") || exchange.EqualFold(media, "text/*")):
				form = "text/plain"
			}
		}
	}
	return form
}
