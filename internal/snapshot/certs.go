package snapshot

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/keys"
)

// certsOf returns which certificates are a consumer's. CAs count by their very
// bytes, so that one cannot take another's name.
func (b *build) certsOf(name string, certs []config.ConsumerCert) (out []directory.Cert) {
	path := entry("consumers", name) + ".certificates"
	for i, c := range certs {
		at := fmt.Sprintf("%s[%d]", path, i)
		if roots := b.rootsOf(at, string(c.CAFile)); len(roots) > 0 {
			out = append(out, directory.Cert{Roots: roots, DNS: c.SANDNS, URI: c.SANURI, Thumbprint: c.Thumbprint})
		}
	}
	return out
}

// rootsOf returns the CAs that a chain may end in: those of a file, each one
// of a listener's, or the only one there is.
func (b *build) rootsOf(at, file string) (roots [][sha256.Size]byte) {
	var known [][sha256.Size]byte // to listeners
	for _, ca := range b.roots {
		if sum := sha256.Sum256(ca.Raw); !slices.Contains(known, sum) {
			known = append(known, sum)
		}
	}
	if len(known) == 0 {
		if len(b.problems) == 0 { // else it may be why
			b.complain(at, "no listener asks for client certificates", "give one tls.clientAuth with mode: optional or required, or remove the certificate")
		}
		return nil
	}
	if file == "" {
		if len(known) > 1 {
			b.complain(at, fmt.Sprintf("caFile is missing: listeners trust %d CAs, and each of them could issue a certificate with this name", len(known)), "name the CA that vouches for this consumer")
			return nil
		}
		return known
	}
	pem, err := b.ReadFile(file)
	if err != nil {
		b.complain(at+".caFile", err.Error(), "")
		return nil
	}
	cas, _, err := keys.ParseClientCAs(pem, time.Now())
	if err != nil {
		b.complain(at+".caFile", file+" "+err.Error(), "")
		return nil
	}
	for _, ca := range cas.Roots() {
		sum := sha256.Sum256(ca.Raw)
		if !slices.Contains(known, sum) {
			b.complain(at+".caFile", fmt.Sprintf("%s holds %.100q, which no listener trusts: no certificate could be verified by it", file, ca.Subject), "add it to the caFile of a listener's clientAuth")
			return nil
		}
		roots = append(roots, sum)
	}
	return roots
}
