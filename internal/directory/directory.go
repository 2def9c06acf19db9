// Package directory holds who may call, in memory: the consumers and the
// credentials by which they are known. It is what the request path reads.
//
// A Directory is built whole from plain data and never changes: the consumers
// of one configuration. Below it lies the Memory of the store, which changes
// by itself and outlives configurations.
package directory

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/password"
)

// Consumer is an application, partner or service as it was written.
type Consumer struct {
	Name    string
	Roles   []string
	Keys    []Key
	Certs   []Cert
	Clients []Client
	// Password is the hash of its password; nil: it has none.
	Password *password.Hash
}

// Cert says which client certificates are a consumer's: those that have one of
// three names, and whose chain ends in one of some CAs.
type Cert struct {
	Roots      [][sha256.Size]byte // SHA-256 of the CA certificates; never none
	DNS, URI   string
	Thumbprint [sha256.Size]byte
}

// Key is an API key as it was written: its SHA-256, never the key.
type Key struct {
	Digest  [sha256.Size]byte
	Expires time.Time // the first moment it is no longer good; zero: never
	Limits  *exchange.KeyLimits
}

// Client is an application as an issuer names it.
type Client struct {
	Issuer string // name of the issuer in the configuration
	ID     string
}

// Problem is something wrong with one consumer.
type Problem struct {
	Consumer string
	Path     string // below the consumer: "apiKeys[1].hash"
	Text     string
}

// Problems is everything wrong with what a directory was to be built from.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = strings.TrimSuffix("consumers."+one.Consumer+"."+one.Path, ".") + ": " + one.Text
	}
	return strings.Join(lines, "\n")
}

// Directory finds consumers by what they show. Safe for concurrent use; what
// it returns is immutable. A nil or zero Directory knows nobody.
type Directory struct {
	consumers map[string]*exchange.Consumer
	keys      map[[sha256.Size]byte]exchange.KeyRecord
	certs     map[certName][]certRecord
	clients   map[Client]*exchange.Consumer
	memory    *Memory // nil: there is no store
	within    time.Duration
	passwords map[string]account
	hashes    []*password.Hash // of passwords, in the order they were given
	seed      [sha256.Size]byte
}

// certName is one name of a certificate.
type certName struct {
	kind byte // 'd', 'u' or 't'
	text string
}

type certRecord struct {
	record *exchange.CertRecord
	roots  [][sha256.Size]byte
}

func (r *certRecord) endsIn(roots [][sha256.Size]byte) bool {
	for i := range roots {
		if slices.Contains(r.roots, roots[i]) {
			return true
		}
	}
	return false
}

// account is a consumer with a password.
type account struct {
	consumer *exchange.Consumer
	hash     *password.Hash
}

// New builds a directory without a store. An error is of type Problems and
// holds every problem.
func New(consumers []Consumer) (*Directory, error) { return Over(nil, 0, consumers) }

// Over builds a directory over the memory of the store, which is believed
// while it was up to date within that time. Consumers given here go before
// those of the store: one of the store that has the same name is refused.
func Over(m *Memory, within time.Duration, consumers []Consumer) (*Directory, error) {
	d := &Directory{
		memory: m, within: within,
		consumers: make(map[string]*exchange.Consumer, len(consumers)),
		keys:      make(map[[sha256.Size]byte]exchange.KeyRecord),
		certs:     make(map[certName][]certRecord),
		clients:   make(map[Client]*exchange.Consumer),
		passwords: make(map[string]account),
	}
	var problems Problems
	for i := range consumers {
		problems = d.add(&consumers[i], problems)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	h := sha256.New()
	for _, one := range d.hashes {
		id := one.ID()
		h.Write(id[:])
	}
	h.Sum(d.seed[:0])
	return d, nil
}

func (d *Directory) add(c *Consumer, problems Problems) Problems {
	complain := func(path, format string, args ...any) {
		problems = append(problems, Problem{c.Name, path, fmt.Sprintf(format, args...)})
	}
	if c.Name == "" {
		complain("", "a consumer needs a name")
		return problems
	}
	if _, twice := d.consumers[c.Name]; twice {
		complain("", "there are two consumers of this name")
		return problems
	}
	known := &exchange.Consumer{Name: c.Name, Roles: slices.Clone(c.Roles)}
	d.consumers[c.Name] = known

	if c.Password != nil {
		d.passwords[c.Name] = account{known, c.Password}
		d.hashes = append(d.hashes, c.Password)
	}
	for i, key := range c.Keys {
		path := fmt.Sprintf("apiKeys[%d].hash", i)
		if key.Digest == ([sha256.Size]byte{}) {
			complain(path, "needs a hash, as `warder key new` prints it")
			continue
		}
		if first, twice := d.keys[key.Digest]; twice {
			complain(path, "this key is already one of consumer %s; a key belongs to one consumer, once", first.Consumer.Name)
			continue
		}
		d.keys[key.Digest] = exchange.KeyRecord{Consumer: known, Expires: key.Expires, Limits: key.Limits}
	}
	for i, cert := range c.Certs {
		d.addCert(fmt.Sprintf("certificates[%d]", i), known, &cert, complain)
	}
	for i, client := range c.Clients {
		path := fmt.Sprintf("clients[%d]", i)
		if client.Issuer == "" || client.ID == "" {
			complain(path, "needs issuer and id, both")
			continue
		}
		if first, twice := d.clients[client]; twice {
			complain(path, "client %s of issuer %s is already consumer %s; a client belongs to one consumer, once", client.ID, client.Issuer, first.Name)
			continue
		}
		d.clients[client] = known
	}
	return problems
}

func (d *Directory) addCert(path string, known *exchange.Consumer, cert *Cert, complain func(path, format string, args ...any)) {
	var names []certName
	if cert.DNS != "" {
		names = append(names, certName{'d', strings.ToLower(cert.DNS)})
	}
	if cert.URI != "" {
		names = append(names, certName{'u', cert.URI})
	}
	if cert.Thumbprint != ([sha256.Size]byte{}) {
		names = append(names, certName{'t', string(cert.Thumbprint[:])})
	}
	if len(names) != 1 || len(cert.Roots) == 0 {
		complain(path, "needs one of sanDns, sanUri and thumbprint, and a CA")
		return
	}
	name := names[0]
	for _, first := range d.certs[name] {
		if first.endsIn(cert.Roots) {
			complain(path, "such certificates are already those of consumer %s; a certificate belongs to one consumer, once", first.record.Consumer.Name)
			return
		}
	}
	text := map[byte]string{'d': "dns " + name.text, 'u': "uri " + name.text, 't': "sha256 " + hex.EncodeToString(cert.Thumbprint[:])}[name.kind]
	d.certs[name] = append(d.certs[name], certRecord{&exchange.CertRecord{Consumer: known, Name: text}, slices.Clone(cert.Roots)})
}

// Certificate finds by what a verified certificate is a consumer's, nil if it
// is nobody's. rival is that of another consumer who claims it too.
func (d *Directory) Certificate(c *exchange.CertFacts) (record, rival *exchange.CertRecord) {
	if d == nil || c == nil {
		return nil, nil
	}
	see := func(name certName) {
		for i := range d.certs[name] {
			switch r := &d.certs[name][i]; {
			case !r.endsIn(c.Roots):
			case record == nil:
				record = r.record
			case record.Consumer != r.record.Consumer:
				rival = r.record
			}
		}
	}
	for _, name := range c.DNS {
		see(certName{'d', name})
	}
	if len(c.URI) == 1 || !slices.ContainsFunc(c.URI, isSPIFFE) { // a document of SPIFFE has one name, no more
		for _, name := range c.URI {
			see(certName{'u', name})
		}
	}
	see(certName{'t', string(c.Thumbprint[:])})
	return record, rival
}

func isSPIFFE(uri string) bool { return strings.HasPrefix(uri, "spiffe:") }

// Key finds an API key. The code is None if it is good at that moment;
// otherwise why it is not, and the record is zero unless the key is known. Only
// if ask is true may this take time, 100 ms at most: a key that nobody here
// knows may have been made on another instance just now.
func (d *Directory) Key(ref exchange.KeyRef, now time.Time, ask bool) (exchange.KeyRecord, fault.Code) {
	if d == nil {
		return exchange.KeyRecord{}, fault.KeyUnknown
	}
	if record, ok := d.keys[ref.Digest]; ok && !ref.Imported {
		if !record.Expires.IsZero() && !now.Before(record.Expires) {
			return record, fault.KeyExpired
		}
		return record, fault.None
	}
	if d.memory == nil {
		return exchange.KeyRecord{}, fault.KeyUnknown
	}
	record, code := d.memory.key(&ref, now, d.within, ask)
	if record.Consumer != nil {
		if _, taken := d.consumers[record.Consumer.Name]; taken {
			return exchange.KeyRecord{}, fault.KeyUnknown
		}
	}
	return record, code
}

// FreshUntil returns until when the store's keys and revocations are believed if nothing is
// heard of it any more. Zero: there is no store.
func (d *Directory) FreshUntil() time.Time {
	if d == nil || d.memory == nil {
		return time.Time{}
	}
	return d.memory.Seen().Add(d.within)
}

// Revoked says whether the token or the session of an identity was taken back:
// None if it was not, or if the identity is by neither. Without a store nothing
// can be; a nil Directory cannot tell.
func (d *Directory) Revoked(id *exchange.Identity, now time.Time) fault.Code {
	switch {
	case id.Token == nil:
		return fault.None
	case d == nil:
		return fault.IdentityUnavailable
	case d.memory == nil:
		return fault.None
	}
	return d.memory.revoked(id, now, d.within)
}

// RevokedBy says by which revocation the token or the session of an identity
// was taken back, as warder token list-revoked names it, as the end of a
// sentence; empty if by none.
func (d *Directory) RevokedBy(id *exchange.Identity, now time.Time) string {
	if d == nil || d.memory == nil || id.Token == nil {
		return ""
	}
	return d.memory.revokedBy(id, now)
}

// Client finds the consumer that claims this client of this issuer.
func (d *Directory) Client(issuer, client string) (*exchange.Consumer, bool) {
	if d == nil {
		return nil, false
	}
	consumer, ok := d.clients[Client{issuer, client}]
	return consumer, ok
}

// Consumer finds a consumer by its name.
func (d *Directory) Consumer(name string) (*exchange.Consumer, bool) {
	if d == nil {
		return nil, false
	}
	consumer, ok := d.consumers[name]
	if !ok && d.memory != nil {
		return d.memory.Consumer(name)
	}
	return consumer, ok
}

// Password finds the stored password of the consumer with this name. For every
// other name the consumer is nil and the hash a stand-in: it costs as much as
// that of one of the consumers, always the same one while their passwords
// stay, so that what a wrong password costs does not tell which names exist.
func (d *Directory) Password(name []byte) (*password.Hash, *exchange.Consumer) {
	if d == nil || len(d.hashes) == 0 {
		standIn := new(password.Hash).StandIn()
		return &standIn, nil
	}
	if a, ok := d.passwords[string(name)]; ok {
		return a.hash, a.consumer
	}
	// Nobody outside can compute it: the seed is of the hashes, which are secret.
	pick := sha256.Sum256(append(d.seed[:len(d.seed):len(d.seed)], name...))
	standIn := d.hashes[binary.BigEndian.Uint64(pick[:])%uint64(len(d.hashes))].StandIn()
	return &standIn, nil
}
