package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/warder-gateway/warder/internal/config"
	"github.com/warder-gateway/warder/internal/snapshot"
)

// outputs is where the access log goes. A reload changes it while the log
// runs on: without waiting, because a writer may be stuck for as long as
// nobody reads our standard output.
type outputs struct{ now atomic.Pointer[outputSet] }

// outputSet is the outputs of one configuration. Immutable.
type outputSet struct {
	to    []io.Writer
	files []*os.File
	old   *outputSet // to be closed when no write to it can be under way
}

// Write writes to every output; it fails when one of them does. One goroutine
// calls it.
func (o *outputs) Write(p []byte) (int, error) {
	set := o.now.Load()
	if set == nil {
		return 0, errors.New("the access log has no output")
	}
	var all error
	for _, w := range set.to {
		_, err := w.Write(p)
		all = errors.Join(all, err)
	}
	// Whatever came before set is written no more: this is its only writer.
	for old := set.old; old != nil; old = old.old {
		old.close()
	}
	set.old = nil
	return len(p), all
}

// replace makes next the outputs.
func (o *outputs) replace(next *outputSet) {
	next.old = o.now.Load()
	o.now.Store(next)
}

func (s *outputSet) close() {
	for _, f := range s.files {
		f.Close() // a second time does no harm
	}
}

// prepareLog opens the files of the access log, anew at every load, so that a
// reload after a rotation goes on in the new file.
func (a *app) prepareLog(_ *snapshot.Snapshot, doc *config.Document) (commit, abort func(), err error) {
	next := &outputSet{}
	for i, sink := range doc.Log.Access.To {
		if sink.Stdout {
			next.to = append(next.to, a.stdout)
			continue
		}
		path := sink.File
		if !filepath.IsAbs(path) {
			path = a.state.Path(path)
		}
		f, err := openLog(path)
		if err != nil {
			next.close()
			return nil, nil, fmt.Errorf("log.access.to[%d]: cannot open the access log: %w", i, err)
		}
		next.to, next.files = append(next.to, f), append(next.files, f)
	}
	return func() { a.outputs.replace(next) }, next.close, nil
}

// openLog opens a file to append to. Only a regular file will do: to open a
// pipe is to wait for its reader.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
}
