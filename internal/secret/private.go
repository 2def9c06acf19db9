package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ReadPrivate returns what is in a file that only its owner may use, of at
// most so many bytes. A file that others may read or write, that belongs to
// somebody other than root or the user of this process, or that is not a
// regular file is refused. Errors name neither path nor content; fs.ErrNotExist
// says that there is none.
func ReadPrivate(path string, most int64) ([]byte, error) {
	b, err := readRegular(path, most, func(info fs.FileInfo) error {
		if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() && s.Uid != 0 {
			return fmt.Errorf("it belongs to user %d, not to the one this runs as (%d)", s.Uid, os.Geteuid())
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			return fmt.Errorf("others than its owner may use it (mode %04o): if nobody can have read it run chmod 600", mode)
		}
		return nil
	})
	return b, bare(err)
}

// CreatePrivate makes a file that only its owner may use, whole or not at all,
// and on disk when it returns. A file that is there already stays, and is
// fs.ErrExist. Other errors do not name the path.
func CreatePrivate(path string, data []byte) error {
	return CreatePrivateFrom(path, whole(data))
}

// CreatePrivateFrom is CreatePrivate of what write writes. Its error is
// returned as it is.
func CreatePrivateFrom(path string, write func(io.Writer) error) error {
	// A link, unlike a rename, never replaces what is there.
	return putPrivate(path, write, os.Link)
}

// ReplacePrivate is CreatePrivate, but what is there is replaced, in one step.
func ReplacePrivate(path string, data []byte) error {
	return putPrivate(path, whole(data), os.Rename)
}

func whole(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return bare(err)
	}
}

func putPrivate(path string, write func(io.Writer) error, put func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // with O_EXCL and mode 0600
	if err != nil {
		return bare(err)
	}
	defer os.Remove(f.Name()) // a rename has taken it away, which is fine
	if err := write(f); err != nil {
		f.Close() // what it would say is of no account
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return bare(err)
	}
	if err := put(f.Name(), path); err != nil {
		return bare(err)
	}
	// Without it the name may be lost in a crash.
	d, err := os.Open(dir)
	if err != nil {
		return bare(err)
	}
	return bare(errors.Join(d.Sync(), d.Close()))
}

// Exposed reports whether others than the owner of a file and its group may
// read it, and whether they may write to it. A file that is not there is not
// exposed.
func Exposed(path string) (read, write bool) {
	info, err := os.Stat(path)
	if err != nil {
		return false, false
	}
	return info.Mode().Perm()&0o004 != 0, info.Mode().Perm()&0o002 != 0
}

// bare takes the paths out of an error of package os.
func bare(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	if at := (*os.LinkError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}
