package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Where a configuration is looked for when none is named, in this order.
const (
	configHere   = "warder.yaml"
	configSystem = "/etc/warder/warder.yaml"
)

// configFlag names the configuration of a command that cannot do without one.
type configFlag struct {
	Config string `short:"c" help:"Configuration file; default: ./warder.yaml, else /etc/warder/warder.yaml." placeholder:"FILE"`
}

// find fills in the first configuration there is, if none was named.
func (c *configFlag) find() error {
	if c.Config != "" {
		return nil
	}
	path, err := firstConfig(configHere, configSystem)
	if err == nil && path == "" {
		err = usageError("there is no ./" + configHere + " and no " + configSystem +
			"; name a configuration with -c FILE, write a first one with warder init, or see a demo with warder quickstart")
	}
	c.Config = path
	return err
}

// using says which configuration was found.
func (e *env) using(path string) {
	fmt.Fprintf(e.err, "using %s; for another configuration, add -c FILE\n", path)
}

// firstConfig returns the first of these files that is there; empty if none
// is. One in the folder where somebody happens to be may have been put there
// for them to find: nobody but they and root may have any say in what it holds.
func firstConfig(here, system string) (string, error) {
	if _, err := os.Lstat(here); err == nil {
		if why := othersSay(here); why != "" {
			return "", fmt.Errorf("%s; if you mean %s, name it: -c %s", why, here, here)
		}
		return here, nil
	}
	for _, path := range []string{here, system} {
		// What cannot be looked at is taken, and said to be unreadable by whoever reads it.
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", nil
}

// othersSay says why somebody else may decide what a file holds: it is theirs,
// a link to it is, or they may write to it or put another in its place, now or
// after this look. "" if nobody may.
func othersSay(path string) string {
	dir := filepath.Dir(path)
	for _, one := range []struct {
		name string
		look func(string) (fs.FileInfo, error)
	}{{dir, os.Stat}, {path, os.Lstat}, {path, os.Stat}} {
		info, err := one.look(one.name)
		if err != nil {
			continue // whoever reads it says so
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() && s.Uid != 0 {
			return fmt.Sprintf("%s belongs to another user (%d)", one.name, s.Uid)
		}
		// Of a folder such as /tmp nobody may take what is another's.
		free := info.Mode()&fs.ModeSymlink != 0 || info.IsDir() && info.Mode()&fs.ModeSticky != 0
		if !free && info.Mode().Perm()&0o002 != 0 {
			return fmt.Sprintf("every user may write to %s", one.name)
		}
	}
	return ""
}
