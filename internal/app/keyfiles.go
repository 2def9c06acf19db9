package app

import (
	"fmt"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// keyFiles hands out the files of private keys that a document names, and
// where it does.
func keyFiles(doc *config.Document, each func(path, file string)) {
	some := func(path string, file config.File) {
		if file != "" {
			each(path+".keyFile", string(file))
		}
	}
	for i, l := range doc.Listeners {
		if l.TLS == nil {
			continue
		}
		for j, pair := range l.TLS.Certificates {
			some(fmt.Sprintf("listeners[%d].tls.certificates[%d]", i, j), pair.KeyFile)
		}
	}
	for _, u := range doc.Upstreams {
		if u.Value.TLS != nil {
			some(fmt.Sprintf("upstreams[%q].tls", u.Name), u.Value.TLS.KeyFile)
		}
	}
	for _, i := range doc.Issuers {
		if i.Value.Introspection != nil {
			some(fmt.Sprintf("issuers[%q].introspection", i.Name), i.Value.Introspection.KeyFile)
		}
		if i.Value.Login != nil {
			some(fmt.Sprintf("issuers[%q].login", i.Name), i.Value.Login.KeyFile)
		}
	}
}

// readableKeys are the private keys that every user of the machine may read.
// That is no reason to refuse them: images and volumes of containers often
// leave no choice.
func readableKeys(doc *config.Document) (all config.Problems) {
	keyFiles(doc, func(path, file string) {
		if read, _ := secret.Exposed(file); read {
			all = append(all, doc.Complain(path, "every user of this machine may read this private key", "run chmod o-r "+file))
		}
	})
	return all.Sort()
}

// checkKeyFiles refuses private keys that everybody may write to: whose they
// are, nobody knows.
func checkKeyFiles(doc *config.Document) error {
	var all config.Problems
	keyFiles(doc, func(path, file string) {
		if _, write := secret.Exposed(file); write {
			all = append(all, doc.Complain(path, "everybody may write to this private key", "run chmod o-w "+file))
		}
	})
	return all.Sort().Err()
}

// prepareKeyFiles warns of each file of a private key that others may read,
// once in the life of the process.
func (a *app) prepareKeyFiles(_ *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
	if err := checkKeyFiles(doc); err != nil {
		return nil, nil, err
	}
	return func() {
		for _, p := range readableKeys(doc) {
			if !a.warned[p.Mend] { // it names the file
				a.warned[p.Mend] = true
				a.log.Warn(p.Text, "at", fmt.Sprintf("%s:%d", p.File, p.Line), "key", p.Path, "mend", p.Mend)
			}
		}
	}, func() {}, nil
}
