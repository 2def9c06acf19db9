// Package secret holds values that cannot be printed, and the sources they
// are read from.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// Value is a secret. However it is printed, logged or marshalled it says
// "[secret]". The zero Value holds nothing and equals nothing.
//
// The bytes live in a closure because fmt reads unexported struct fields
// without asking any method of the type that holds them.
type Value struct{ bytes func() []byte }

// New returns a Value that holds a copy of b.
func New(b []byte) Value {
	own := append([]byte(nil), b...)
	return Value{bytes: func() []byte { return own }}
}

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.bytes == nil || len(v.bytes()) == 0 }

// Reveal returns a copy of the secret, for the one place that uses it.
func (v Value) Reveal() []byte {
	if v.bytes == nil {
		return nil
	}
	return append([]byte(nil), v.bytes()...)
}

// Equal reports in constant time whether guess is the secret. Nothing equals
// an empty secret, an empty guess included.
func (v Value) Equal(guess []byte) bool {
	if v.IsZero() {
		return false
	}
	// Digests have one length, so that the comparison tells nothing of the secret's.
	a, b := sha256.Sum256(v.bytes()), sha256.Sum256(guess)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Format implements fmt.Formatter for every verb.
func (Value) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the text as the secret. What MarshalText says is refused:
// it is no secret but the place where one was.
func (v *Value) UnmarshalText(b []byte) error {
	if string(b) == redacted {
		return errors.New("this is where a secret was, not the secret")
	}
	*v = New(b)
	return nil
}
