package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// outputs is where the access log goes. A reload changes it while the log
// runs on. Safe for concurrent use.
type outputs struct {
	mu    sync.Mutex
	to    []io.Writer
	files []io.Closer
	named []config.Sink
}

// Write writes to every output; it fails when one of them does.
func (o *outputs) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all error
	for _, w := range o.to {
		_, err := w.Write(p)
		all = errors.Join(all, err)
	}
	return len(p), all
}

// replace makes to the outputs and closes the files of before.
func (o *outputs) replace(named []config.Sink, to []io.Writer, files []io.Closer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.files {
		f.Close()
	}
	o.named, o.to, o.files = named, to, files
}

// same reports whether the outputs are those named already.
func (o *outputs) same(named []config.Sink) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to != nil && slices.Equal(o.named, named)
}

// prepareLog opens the files of the access log.
func (a *app) prepareLog(_ *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
	named := doc.Log.Access.To
	if a.outputs.same(named) {
		return func() {}, func() {}, nil
	}
	to, files := []io.Writer{}, []io.Closer{}
	abort = func() {
		for _, f := range files {
			f.Close()
		}
	}
	for i, sink := range named {
		if sink.Stdout {
			to = append(to, a.stdout)
			continue
		}
		path := sink.File
		if !filepath.IsAbs(path) {
			path = a.state.Path(path)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
		if err != nil {
			abort()
			return nil, nil, fmt.Errorf("log.access.to[%d]: cannot open the access log: %w", i, err)
		}
		to, files = append(to, f), append(files, f)
	}
	return func() { a.outputs.replace(named, to, files) }, abort, nil
}
