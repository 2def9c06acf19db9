package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
func (e *env) using(path string) { fmt.Fprintf(e.err, "using %s; -c names another\n", path) }

// firstConfig returns the first of these files that is there; empty if none
// is. One in the folder where somebody happens to be may have been put there
// for them to find, so that it must be their own, or root's.
func firstConfig(here, system string) (string, error) {
	// A link is whose it is, and what it leads to whose that is.
	for _, look := range []func(string) (fs.FileInfo, error){os.Lstat, os.Stat} {
		info, err := look(here)
		if err != nil {
			break
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() && s.Uid != 0 {
			return "", fmt.Errorf("%s belongs to another user (%d); if you mean it, name it: -c %s", here, s.Uid, here)
		}
	}
	for _, path := range []string{here, system} {
		// What cannot be looked at is taken, and said to be unreadable by whoever reads it.
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", nil
}
