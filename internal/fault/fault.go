// Package fault holds the catalogue of "no": every code with which a request
// can be turned away, and the error that carries one of them.
//
// An error has two readers. The caller is shown the public code, its status
// and one safe sentence that is the same for every occurrence. The operator
// is shown the inner code, the reason, the cause and what to do. Nothing of
// the second kind ever reaches the first reader.
//
// Codes are part of Warder's interface: they stand in logs, metrics, events
// and in the answers callers get. They are added, never renamed.
package fault

import (
	"errors"
	"fmt"
)

// Code is one inner code of the catalogue. The zero Code is InternalError: an
// error that nobody classified stays private.
type Code uint8

// String returns the code as it is written in logs and answers.
func (c Code) String() string { return c.entry().name }

// Public returns the code the caller is shown in place of c. It is c itself
// unless telling the two apart would help an attacker.
func (c Code) Public() Code {
	if p := c.entry().public; p != InternalError {
		return p
	}
	return c
}

// Status returns the HTTP status of a refusal with this code.
func (c Code) Status() int { return c.entry().status }

// GRPC returns the gRPC status of a refusal with this code: what the HTTP
// status says in that language.
func (c Code) GRPC() int {
	switch status := c.Status(); status {
	case 499:
		return 1 // CANCELLED
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404, 405, 501:
		return 12 // UNIMPLEMENTED: gRPC's word for a method that is not there
	case 408, 504:
		return 4 // DEADLINE_EXCEEDED
	case 413, 429, 431:
		return 8 // RESOURCE_EXHAUSTED
	case 502, 503:
		return 14 // UNAVAILABLE
	default:
		if status >= 400 && status < 500 {
			return 3 // INVALID_ARGUMENT
		}
		return 13 // INTERNAL
	}
}

// Detail returns the one sentence the caller reads. It is a constant.
func (c Code) Detail() string { return c.Public().entry().detail }

// Mend returns what the operator can do about it. Words in braces, such as
// {client}, name operands of the trail step that refused.
func (c Code) Mend() string { return c.entry().mend }

// None is the code of a request that was not refused. It is no entry of the
// catalogue, and deliberately not the zero Code.
const None Code = 255

var noEntry entry

func (c Code) entry() *entry {
	if c == None {
		return &noEntry
	}
	if int(c) >= len(catalogue) {
		return &catalogue[InternalError]
	}
	return &catalogue[c]
}

// Codes returns every code of the catalogue, in its order.
func Codes() []Code {
	all := make([]Code, len(catalogue))
	for i := range all {
		all[i] = Code(i)
	}
	return all
}

// Error is a fault with what the operator needs to understand it. An Error is
// immutable: annotating one returns a copy.
type Error struct {
	Code   Code
	Reason string // what was expected and what was seen, for the operator
	Cause  error
}

// New returns a fault with a reason for the operator.
func New(code Code, reason string) *Error { return &Error{Code: code, Reason: reason} }

// Because returns a copy of e with cause underneath.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

func (e *Error) Error() string {
	s := e.Code.String()
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Cause != nil {
		s = fmt.Sprintf("%s: %v", s, e.Cause)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// Reason returns what err says to the operator, without its code.
func Reason(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	switch {
	case e.Cause == nil:
		return e.Reason
	case e.Reason == "":
		return Reason(e.Cause)
	}
	return e.Reason + ": " + Reason(e.Cause)
}

// Of returns the code carried by err, or InternalError when it carries none.
func Of(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return InternalError
}
