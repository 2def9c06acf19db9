package gateway

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"

	"github.com/warder-gateway/warder/internal/exchange"
)

const (
	maxForwarded     = 10       // certificates of one chain that a proxy forwards
	maxForwardedSize = 32 << 10 // bytes of the fields they come in
)

// forwardedCert reads what the peer, a proxy, says that its client showed.
// What it says is verified like any other certificate; what cannot be read is
// one that nobody trusts. nil: it says nothing.
func forwardedCert(x *exchange.Exchange) *exchange.Shown {
	read := fromClientCert
	if x.Conn.CertHeader.XFCC {
		read = fromXFCC
	}
	chain, err := read(&x.Req)
	switch {
	case err != nil:
		return exchange.BrokenShown("what the proxy forwards is no certificate: " + err.Error())
	case len(chain) == 0:
		return nil
	}
	return exchange.NewShown(chain)
}

var (
	errForwardedTwice = errors.New("the field occurs more than once")
	errForwardedForm  = errors.New("the field is not well-formed")
	errForwardedLong  = errors.New("the chain is too long")
	errForwardedBare  = errors.New("the element has no Cert: a name or a hash cannot be verified")
	errForwardedHops  = errors.New("the field has more than one element, and one proxy is believed")
)

// fromClientCert reads Client-Cert and Client-Cert-Chain (RFC 9440).
func fromClientCert(h *exchange.Head) (chain []*x509.Certificate, err error) {
	value, n := h.GetName("client-cert")
	more, _ := h.GetName("client-cert-chain")
	switch {
	case n == 0 && more == nil:
		return nil, nil
	case n != 1:
		return nil, errForwardedTwice
	case len(value) > maxForwardedSize:
		return nil, errForwardedLong
	}
	if chain, err = appendBinary(chain, trimSpace(value)); err != nil {
		return nil, err
	}
	for i := range h.Fields { // a list may stand in several fields (RFC 8941 section 4.2)
		f := &h.Fields[i]
		if !exchange.EqualFold(f.Name, "client-cert-chain") {
			continue
		}
		if len(f.Value) > maxForwardedSize {
			return nil, errForwardedLong
		}
		for item := range bytes.SplitSeq(f.Value, []byte(",")) {
			if len(chain) == maxForwarded {
				return nil, errForwardedLong
			}
			if chain, err = appendBinary(chain, trimSpace(item)); err != nil {
				return nil, err
			}
		}
	}
	return chain, nil
}

// appendBinary reads a byte sequence (RFC 8941 section 3.3.5) without
// parameters, which is a certificate in DER.
func appendBinary(chain []*x509.Certificate, item []byte) ([]*x509.Certificate, error) {
	if len(item) < 2 || item[0] != ':' || item[len(item)-1] != ':' {
		return nil, errForwardedForm
	}
	der, err := base64.StdEncoding.Strict().DecodeString(string(item[1 : len(item)-1]))
	if err != nil {
		return nil, errForwardedForm
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return append(chain, cert), nil
}

// fromXFCC reads the element that one Envoy writes: key=value pairs between
// semicolons, values in quotes where need be, Cert and Chain as PEM with
// escapes of URLs.
func fromXFCC(h *exchange.Head) (chain []*x509.Certificate, err error) {
	value, n := h.GetName("x-forwarded-client-cert")
	switch {
	case n == 0:
		return nil, nil
	case n > 1:
		return nil, errForwardedTwice
	case len(value) > maxForwardedSize:
		return nil, errForwardedLong
	}
	var leaf, whole []byte
	empty := true // nginx writes an empty Cert for a client that showed none
	for rest := value; ; {
		key, after, found := bytes.Cut(rest, []byte("="))
		if !found {
			return nil, errForwardedForm
		}
		text, after, ok := xfccValue(after)
		if !ok {
			return nil, errForwardedForm
		}
		empty = empty && len(text) == 0
		into := (*[]byte)(nil)
		switch key = trimSpace(key); {
		case exchange.EqualFold(key, "cert"):
			into = &leaf
		case exchange.EqualFold(key, "chain"):
			into = &whole
		}
		if into != nil {
			if *into != nil {
				return nil, errForwardedTwice
			}
			*into = text
		}
		if len(after) == 0 {
			break
		}
		if after[0] == ',' {
			return nil, errForwardedHops
		}
		rest = after[1:]
	}
	switch {
	case leaf != nil && empty:
		return nil, nil
	case len(leaf) == 0:
		return nil, errForwardedBare
	}
	if chain, err = appendPEM(nil, leaf); err != nil {
		return nil, err
	}
	if len(chain) != 1 {
		return nil, errForwardedForm
	}
	all, err := appendPEM(nil, whole)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 && all[0].Equal(chain[0]) { // Chain begins with the client's own
		all = all[1:]
	}
	return append(chain, all...), nil
}

// xfccValue reads a value, and returns what follows it: nothing, or what
// begins with a semicolon or a comma.
func xfccValue(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		n := bytes.IndexAny(b, ";,\"")
		switch {
		case n < 0:
			return b, nil, true
		case b[n] == '"':
			return nil, nil, false
		}
		return b[:n], b[n:], true
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++ // no certificate has any: it will not decode
		case '"':
			rest = b[i+1:]
			return b[1:i], rest, len(rest) == 0 || rest[0] == ';' || rest[0] == ','
		}
	}
	return nil, nil, false
}

func appendPEM(chain []*x509.Certificate, escaped []byte) ([]*x509.Certificate, error) {
	text, err := url.PathUnescape(string(escaped))
	if err != nil {
		return nil, errForwardedForm
	}
	rest := []byte(text)
	for len(bytes.TrimSpace(rest)) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errForwardedForm
		}
		if len(chain) == maxForwarded {
			return nil, errForwardedLong
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain, rest = append(chain, cert), after
	}
	return chain, nil
}
