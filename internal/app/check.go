package app

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/control"
	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/policy"
	"github.com/warder-gateway/warder/internal/snapshot"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// CheckReport says what is in a configuration, or what is wrong with it.
type CheckReport struct {
	Problems  []Complaint `json:"problems"`
	Config    string      `json:"config,omitempty"`
	Routes    int         `json:"routes"`
	Issuers   int         `json:"issuers"`
	Upstreams int         `json:"upstreams"`
	Consumers int         `json:"consumers"`
	// Warnings are what is allowed and cannot be meant, such as consumers that
	// neither the file nor the store has.
	Warnings []Complaint `json:"warnings,omitempty"`
	// Unread: nothing after the first problem could be read. Unjudged: how many
	// routes were not judged, because of a problem they or what they use have.
	Unread   bool `json:"unread,omitempty"`
	Unjudged int  `json:"routesUnjudged,omitempty"`
	// Elsewhere are consumers that routes name and the file does not have, if
	// the store could not be asked for them.
	Elsewhere []string `json:"consumersElsewhere,omitempty"`
}

// Complaint is one problem with its place.
type Complaint struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Path   string `json:"path,omitempty"`
	Text   string `json:"text"`
	Mend   string `json:"mend,omitempty"`
	line   string
}

func (c Complaint) String() string { return c.line }

// Check takes a configuration file down the road that run takes, as far as it
// goes without starting anything. The store is asked for consumers that the
// file does not have, if it can be opened as it is; state is the state folder,
// empty: it is not asked. An error says that the file could not be read.
func Check(path, state string) (*CheckReport, error) {
	snap, doc, err := compile(path)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		r := &CheckReport{Unread: doc == nil}
		if doc != nil {
			r.Unjudged = doc.Unsound()
		}
		r.Problems = complaints(problems)
		return r, nil
	case err != nil:
		return nil, err
	}
	defer snap.Release()
	r := &CheckReport{
		Problems: []Complaint{}, Config: snap.Config, Routes: len(doc.Flatten()), Issuers: len(doc.Issuers),
		Upstreams: len(doc.Upstreams), Consumers: len(doc.Consumers),
		Warnings: complaints(slices.Concat(snap.Doubts, doubts(doc), readableKeys(doc)).Sort()),
	}
	none, asked := missing(doc, state, snap.Elsewhere)
	for _, m := range none {
		r.Warnings = append(r.Warnings, complaints(config.Problems{m.At})...)
	}
	r.Warnings = append(r.Warnings, complaints(guessable(doc, state))...)
	if !asked {
		for _, m := range snap.Elsewhere {
			r.Elsewhere = append(r.Elsewhere, m.Name)
		}
	}
	return r, nil
}

func complaints(problems config.Problems) (all []Complaint) {
	for _, p := range problems {
		all = append(all, Complaint{p.File, p.Line, p.Column, p.Path, p.Text, p.Mend, p.String()})
	}
	return all
}

// doubts lists what a sound document can hardly mean.
func doubts(doc *config.Document) config.Problems {
	return slices.Concat(nobodyHasPassword(doc), nobodyIsServed(doc)).Sort()
}

// nobodyIsServed complains of plain listeners if every listener refuses the
// callers of routes that ask for credentials.
func nobodyIsServed(doc *config.Document) (all config.Problems) {
	routes := doc.Flatten()
	guarded := slices.IndexFunc(routes, func(f config.FlatRoute) bool { return !f.Public })
	if guarded < 0 {
		return nil
	}
	for i := range doc.Listeners {
		l := &doc.Listeners[i]
		switch {
		case l.RedirectToHTTPS:
		case !l.Plain() || l.Address.Loopback() || len(l.TrustedProxies) > 0:
			return nil
		default:
			all = append(all, doc.Complain(fmt.Sprintf("listeners[%d]", i),
				fmt.Sprintf("every request for %s, and for any other route that asks for credentials, is refused (transport_insecure): no listener has TLS, and no proxy is trusted to say https", routes[guarded].Name),
				"add tls with certificates, or trustedProxies if a proxy in front speaks TLS"))
		}
	}
	return all
}

// nobodyHasPassword complains of routes that ask for passwords if there are none.
func nobodyHasPassword(doc *config.Document) (all config.Problems) {
	for _, c := range doc.Consumers {
		if !c.Value.Password.IsZero() {
			return nil
		}
	}
	for _, f := range doc.Flatten() {
		policies := f.Policies
		for _, proof := range f.Proofs {
			policies = append(policies, proof.Policies...)
		}
		for _, p := range policies {
			if p.Path == "auth.basic" {
				all = append(all, p.Node.Complain("", "no consumer has a password, so nobody can pass this",
					"give a consumer the password that warder password hash prints"))
			}
		}
	}
	return all
}

// compile takes a configuration file as far as a snapshot and starts nothing.
// The caller holds the snapshot's loan. With problems the document is returned
// all the same, if it could be read.
func compile(path string) (*snapshot.Snapshot, *config.Document, error) {
	snap, doc, err := control.Compile(path, idleCompiler())
	if err != nil {
		return nil, doc, err
	}
	for _, check := range []func(*config.Document) error{checkStore, checkKeyFiles} {
		if err := check(doc); err != nil {
			snap.Release()
			return nil, doc, err
		}
	}
	return snap, doc, nil
}

// idleCompiler returns a compiler for what is never served.
func idleCompiler() *snapshot.Compiler {
	return NewCompiler(telemetry.NewMetrics("check", codes()), nil, counters.NewMemory(1), slog.New(slog.DiscardHandler), nil)
}

// readStore reads which store a configuration file names, and the rest of the
// file without its secrets.
func readStore(path string) (*config.Document, error) {
	doc, err := control.ReadOnly(path, "store", idleCompiler())
	if err != nil {
		return nil, err
	}
	if err := checkStore(doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// AdminURL returns where the admin surface is of a gateway that runs with a
// configuration file. The rest of the file may have problems.
func AdminURL(path string) (string, error) {
	address, err := control.AdminAddress(path, idleCompiler())
	switch {
	case err != nil:
		return "", err
	case !address.Loopback() || strings.HasSuffix(string(address), ":0"):
		return "", fmt.Errorf("admin.address of %s is %q, where no gateway can be asked; name its URL with --admin", path, address)
	}
	return "http://" + string(address), nil
}

// Schema returns the JSON Schema of what this build accepts.
func Schema() ([]byte, error) {
	types := map[string]reflect.Type{}
	for _, k := range policy.Catalog() {
		types[k.Path] = reflect.TypeOf(k.NewConfig()).Elem()
	}
	return config.Schema(types)
}
