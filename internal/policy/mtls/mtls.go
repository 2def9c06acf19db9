// Package mtls is the policy that proves a consumer by a client certificate:
// auth.mtls.
package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

// Config is what stands at auth.mtls. Only true can be meant.
type Config bool

// New compiles the policy.
func New(cfg Config, env pipeline.Env) (pipeline.Parts, error) {
	switch {
	case !bool(cfg):
		return pipeline.Parts{}, pipeline.Complain("", "can only be true; leave mtls out where no certificate is asked for")
	case !env.AsksCerts || env.Directory == nil:
		return pipeline.Parts{}, pipeline.Complain("", "no listener asks for client certificates, so nobody could call this route; give one tls.clientAuth with mode: optional or required")
	}
	return pipeline.Parts{
		Authenticate: &certificates{directory: env.Directory},
		Check:        exchange.Check{Phase: "authenticate", Name: "mtls", Want: "a client certificate of a consumer"},
		Missing:      fault.CertificateMissing,
	}, nil
}

// certificates is the compiled policy. Safe for concurrent use.
type certificates struct {
	directory pipeline.Directory
	// known holds the identity that each record of the directory proves, so
	// that a good request makes nothing new. It cannot outgrow the directory.
	known sync.Map // *exchange.CertRecord -> *exchange.Identity
}

// Authenticate implements pipeline.Authenticator.
func (p *certificates) Authenticate(x *exchange.Exchange, _ *pipeline.World) (*exchange.Identity, pipeline.Verdict) {
	cert := x.ClientCert()
	switch cert.State {
	case exchange.CertVerified:
	case exchange.CertMissing:
		if !x.Conn.AsksCert && x.Conn.CertHeader == nil {
			x.Trail.Saw("because", "the listener of this connection does not ask for certificates")
		}
		return nil, pipeline.NotMine
	case exchange.CertUntrusted:
		return nil, refuse(x, fault.CertificateUntrusted, cert.Reason)
	case exchange.CertRevoked:
		return nil, refuse(x, fault.CertificateRevoked, cert.Reason)
	case exchange.CertUnknown:
		x.RetryAfter = retryUnknown
		return nil, refuse(x, fault.IdentityUnavailable, cert.Reason)
	default:
		if x.Shown() == nil {
			return nil, pipeline.NotMine // nobody has connected: explain asks what would be
		}
		return nil, refuse(x, fault.CertificateUntrusted, "the certificate was not verified")
	}
	record, rival := p.directory.Certificate(cert.Facts)
	switch {
	case record == nil:
		return nil, p.nobodys(x, cert.Leaf())
	case rival != nil:
		x.Trail.Saw("claimed", record.Consumer.Name+" by "+record.Name)
		x.Trail.Saw("claimed", rival.Consumer.Name+" by "+rival.Name)
		return nil, refuse(x, fault.CertificateUntrusted, "two consumers claim the certificate")
	}
	id := p.identity(record)
	x.Trail.Saw("certificate", id.Proof)
	x.Trail.Saw("consumer", id.Consumer)
	return id, pipeline.Pass
}

func refuse(x *exchange.Exchange, code fault.Code, reason string) pipeline.Verdict {
	x.Trail.Saw("because", reason)
	return pipeline.Refuse(code)
}

// nobodys refuses a certificate that holds and is no consumer's. As with a key
// that nobody has, it is not known who calls.
func (p *certificates) nobodys(x *exchange.Exchange, leaf *x509.Certificate) pipeline.Verdict {
	for _, name := range leaf.DNSNames[:min(1, len(leaf.DNSNames))] {
		x.Trail.Saw("dns", name)
	}
	for _, uri := range leaf.URIs[:min(1, len(leaf.URIs))] {
		x.Trail.Saw("uri", uri.String())
	}
	sum := sha256.Sum256(leaf.Raw)
	x.Trail.Saw("thumbprint", hex.EncodeToString(sum[:]))
	return refuse(x, fault.CertificateUntrusted, "no consumer lists it; to do so: "+listing(leaf))
}

// listing is the line for a consumer by which a certificate would be its own,
// as short as a trail keeps it. Where there are several CAs, one is named.
func listing(leaf *x509.Certificate) string {
	const longest = 53 // bytes of a name that there is room for
	switch {
	case len(leaf.DNSNames) == 1 && len(leaf.DNSNames[0]) <= longest && !strings.Contains(leaf.DNSNames[0], "*"):
		return "certificates: [{ caFile: …, sanDns: " + leaf.DNSNames[0] + " }]"
	case len(leaf.URIs) == 1 && len(leaf.URIs[0].String()) <= longest:
		return `certificates: [{ caFile: …, sanUri: "` + leaf.URIs[0].String() + `" }]`
	}
	return "certificates: [{ thumbprint: … }]"
}

// identity returns the identity that a record proves.
func (p *certificates) identity(record *exchange.CertRecord) *exchange.Identity {
	if id, ok := p.known.Load(record); ok {
		return id.(*exchange.Identity)
	}
	id, _ := p.known.LoadOrStore(record, &exchange.Identity{
		Method:   "mtls",
		Proof:    record.Name,
		Consumer: record.Consumer.Name,
		Named:    record.Consumer,
		Roles:    record.Consumer.Roles,
	})
	return id.(*exchange.Identity)
}

// retryUnknown is when to come back while nobody says whether a certificate
// was revoked.
const retryUnknown = 5 * time.Second
