package keys

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// MaxRevocationLists is how large a file of revocation lists may be, in bytes.
const MaxRevocationLists = 16 << 20

// RevocationList is a CA's list of the certificates that it took back (RFC
// 5280 section 5). Safe for concurrent use.
type RevocationList struct {
	list     *x509.RevocationList
	serials  map[string]time.Time // of what was taken back, and when
	verified atomic.Pointer[[sha256.Size]byte]
}

var (
	oidDelta    = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIndirect = asn1.ObjectIdentifier{2, 5, 29, 29}
	oidPart     = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// ParseRevocationLists reads revocation lists, one in DER or any number in
// PEM. Each must be in force at now, and whole: one that tells only what has
// changed (delta), speaks of certificates of others (indirect), or of a part
// of its own (issuing distribution point) would be taken for silence on the
// rest. A list that names itself after one of cas must be signed by it.
func ParseRevocationLists(file []byte, cas []*x509.Certificate, now time.Time) (lists []*RevocationList, err error) {
	if !bytes.Contains(file, []byte("-----BEGIN ")) {
		l, err := parseRevocationList(file, cas, now)
		if err != nil {
			return nil, err
		}
		return []*RevocationList{l}, nil
	}
	for blocks := bytes.Count(file, []byte("-----BEGIN ")); blocks > 0; blocks-- {
		block, rest := pem.Decode(file)
		if block == nil { // Decode passes over what is broken; the count does not
			return nil, errors.New("holds a block that is not well-formed PEM")
		}
		file = rest
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("holds a block of type %.40q; only revocation lists (X509 CRL) belong there", block.Type)
		}
		l, err := parseRevocationList(block.Bytes, cas, now)
		if err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	return lists, nil
}

func parseRevocationList(der []byte, cas []*x509.Certificate, now time.Time) (*RevocationList, error) {
	if len(der) == 0 {
		return nil, errors.New("is empty; a revocation list belongs there")
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("holds something that is no revocation list: %w", err)
	}
	of := fmt.Sprintf("the list of %.100q", parsed.Issuer)
	for _, e := range parsed.Extensions {
		switch {
		case e.Id.Equal(oidDelta):
			return nil, fmt.Errorf("%s is a delta list, which says only what has changed; name the complete one", of)
		case e.Id.Equal(oidPart):
			return nil, fmt.Errorf("%s speaks of a part of the certificates only, or of those of others (issuing distribution point); such lists are not supported: use ocsp", of)
		case e.Critical:
			return nil, fmt.Errorf("%s has a critical extension %v that is not understood", of, e.Id)
		}
	}
	switch {
	case parsed.NextUpdate.IsZero():
		return nil, fmt.Errorf("%s does not say when the next one is due; without that it would be believed for ever", of)
	case now.Before(parsed.ThisUpdate):
		return nil, fmt.Errorf("%s is of %s, which is still to come; compare the clocks", of, parsed.ThisUpdate.Format(time.RFC3339))
	case !now.Before(parsed.NextUpdate):
		return nil, fmt.Errorf("%s has expired: the next was due on %s", of, parsed.NextUpdate.Format(time.RFC3339))
	}
	l := &RevocationList{list: parsed, serials: make(map[string]time.Time, len(parsed.RevokedCertificateEntries))}
	for i := range parsed.RevokedCertificateEntries {
		e := &parsed.RevokedCertificateEntries[i]
		for _, ext := range e.Extensions {
			if ext.Critical || ext.Id.Equal(oidIndirect) {
				return nil, fmt.Errorf("%s has an entry with extension %v, as indirect lists do, which are not supported; use ocsp", of, ext.Id)
			}
		}
		l.serials[string(e.SerialNumber.Bytes())] = e.RevocationTime
	}
	named := false
	for _, ca := range cas {
		if !bytes.Equal(ca.RawSubject, parsed.RawIssuer) {
			continue
		}
		named = true
		if l.speaksFor(ca) {
			return l, nil
		}
	}
	if named {
		return nil, fmt.Errorf("%s is not signed by the CA of that name", of)
	}
	return l, nil // of a CA between: it is seen in a chain
}

// Issuer returns the name of the CA whose list it is.
func (l *RevocationList) Issuer() string { return l.list.Issuer.String() }

// speaksFor reports whether the list is that of a CA: it bears the name and
// the signature.
func (l *RevocationList) speaksFor(ca *x509.Certificate) bool {
	if !bytes.Equal(ca.RawSubject, l.list.RawIssuer) {
		return false
	}
	// Long lists take long to verify: the last CA is remembered.
	id := sha256.Sum256(ca.Raw)
	if known := l.verified.Load(); known != nil && *known == id {
		return true
	}
	if l.list.CheckSignatureFrom(ca) != nil {
		return false
	}
	l.verified.Store(&id)
	return true
}

// Covers reports whether one of lists is that of ca.
func Covers(lists []*RevocationList, ca *x509.Certificate) bool {
	for _, l := range lists {
		if l.speaksFor(ca) {
			return true
		}
	}
	return false
}

// standing returns what the list says of a certificate of its CA.
func (l *RevocationList) standing(cert *x509.Certificate, now time.Time) standing {
	if at, ok := l.serials[string(cert.SerialNumber.Bytes())]; ok { // also by an old list: what was taken back stays so
		return standing{state: revoked, until: now.Add(maxUntrusted), reason: fmt.Sprintf("the CA revoked %.100q on %s", cert.Subject, at.Format(time.DateOnly))}
	}
	if !now.Before(l.list.NextUpdate) {
		return standing{until: now.Add(maxUnheard), reason: fmt.Sprintf("the revocation list of %.100q is out of date since %s", l.list.Issuer, l.list.NextUpdate.Format(time.RFC3339))}
	}
	return standing{state: good, until: l.list.NextUpdate}
}
