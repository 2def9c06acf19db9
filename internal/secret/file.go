package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// MaxFile is the size up to which files are read as secrets, in bytes.
const MaxFile = 64 << 10

// ReadFile reads a secret, a certificate or a key. Its errors name the path,
// never the content.
func ReadFile(path string) ([]byte, error) {
	b, err := ReadRegular(path, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return b, nil
}

// ReadRegular returns what is in the file at path, of at most so many bytes.
// Only regular files are read: a pipe or a device could keep the reader
// waiting for ever. Errors name neither path nor content.
func ReadRegular(path string, most int64) ([]byte, error) {
	b, err := readRegular(path, most, func(fs.FileInfo) error { return nil })
	return b, bare(err)
}

// readRegular asks allowed about the file before it reads it.
func readRegular(path string, most int64, allowed func(fs.FileInfo) error) ([]byte, error) {
	// Non-blocking, because to open a pipe is to wait for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Asked of the open file: the name could be given to another one meanwhile.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if err := allowed(info); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("it is larger than %d bytes", most)
	}
	return b, nil
}
