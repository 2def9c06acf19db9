package exchange

import (
	"context"
	"crypto/x509"
	"net"
	"reflect"
	"testing"
	"time"
)

// Nothing of one request may reach the next one on the same connection: every
// field of an exchange is either empty after Reset or known to be kept.
func TestResetForgetsTheRequest(t *testing.T) {
	t.Parallel()
	kept := map[string]bool{"Conn": true, "life": true, "arena": true} // of the connection; memory
	var x Exchange
	v := reflect.ValueOf(&x).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if kept[f.Name] || !f.IsExported() {
			continue
		}
		fill(v.Field(i))
		if v.Field(i).IsZero() {
			t.Fatalf("the test does not know how to fill %s", f.Name)
		}
	}
	x.ReqEdit.Set("A", []byte("b"))
	x.RespEdit.Set("A", []byte("b"))
	x.Trail.Begin(1)
	x.Alloc(10)
	x.Cancel(nil)
	x.Reset()
	if x.ReqEdit.Len() != 0 || x.RespEdit.Len() != 0 || len(x.Trail.Steps()) != 0 || len(x.arena) != 0 || len(x.Params) != 0 {
		t.Error("edits, trail, captures or arena were not emptied")
	}
	for _, h := range []*Head{&x.Req, &x.Resp} {
		if len(h.Fields) != 0 || h.Length != -1 {
			t.Errorf("a head was not emptied: %+v", h)
		}
		h.Fields, h.Length = nil, 0
	}
	x.ReqEdit, x.RespEdit, x.Params = Edits{}, Edits{}, nil
	for i := range v.NumField() {
		if f := v.Type().Field(i); !kept[f.Name] && f.IsExported() && f.Name != "Trail" && !v.Field(i).IsZero() {
			t.Errorf("Reset keeps %s: %v", f.Name, v.Field(i))
		}
	}
}

// fill puts something that is not zero into an exported field.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
		switch into := v.Addr().Interface().(type) {
		case *Edits:
			into.Set("A", []byte("b"))
		case *Trail:
			into.Begin(1)
		default:
			if v.IsZero() { // netip.Addr, time.Time
				if m, ok := v.Addr().Interface().(interface{ UnmarshalText([]byte) error }); ok {
					if m.UnmarshalText([]byte("127.0.0.1")) != nil {
						m.UnmarshalText([]byte("2026-01-02T03:04:05Z"))
					}
				}
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Array:
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Interface:
		for _, one := range []any{all{}, &net.TCPConn{}} {
			if reflect.TypeOf(one).AssignableTo(v.Type()) {
				v.Set(reflect.ValueOf(one))
			}
		}
	}
}

// all is every interface of an exchange but net.Conn.
type all struct{ ResponseBody }

func (all) Interrupt() {}

func (all) JudgeCert(context.Context, []*x509.Certificate, time.Time) (v CertVerdict, until time.Time) {
	return
}

func (all) Interim(*Head) error { return nil }
