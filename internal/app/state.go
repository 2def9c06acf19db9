package app

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/warder-gateway/warder/internal/secret"
)

// State is the folder in which Warder keeps what it makes itself: the admin
// token, the key file and what is sealed with it.
type State struct{ dir string }

// The files of a state folder.
const (
	TokenFile = "admin.token"
	keyFile   = "keys.kek" // opens all that is sealed
)

// systemState is where the state of a service is.
const systemState = "/var/lib/warder"

// DefaultState returns where state is kept unless somebody says otherwise:
// $STATE_DIRECTORY, /var/lib/warder for root and for whoever owns it, else
// below $XDG_STATE_HOME or ~/.local/state.
func DefaultState() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if info, err := os.Stat(systemState); os.Geteuid() == 0 || err == nil && owner(info) == os.Geteuid() {
		return systemState
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "warder")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "warder")
}

// OpenState opens the state folder and makes it if there is none, for its
// owner alone.
func OpenState(dir string) (*State, error) {
	if dir == "" {
		return nil, errors.New("no state folder: name one with --state")
	}
	if err := os.MkdirAll(dir, 0o700); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("cannot make the state folder: %w; name a folder that this user may write to with --state", err)
	} else if err != nil {
		return nil, fmt.Errorf("cannot make the state folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := ours(info); err != nil {
		return nil, fmt.Errorf("state folder %s: %w", dir, err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("state folder %s: others may write to it (mode %04o); run chmod 700 on it", dir, mode)
	}
	return &State{dir}, nil
}

// ours refuses what belongs to somebody else, who could have put anything
// there. Root's is everybody's own.
func ours(info fs.FileInfo) error {
	if uid := owner(info); uid != os.Geteuid() && uid != 0 {
		return fmt.Errorf("it belongs to %s, not to the user this runs as (%d); use a folder of its own, or run this as that user, with sudo -u", userName(uid), os.Geteuid())
	}
	return nil
}

// owner returns the number of the user whose a file is; without such numbers,
// our own.
func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return os.Geteuid()
}

// userName writes a user for operators: the name where it has one.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return fmt.Sprintf("user %d (%s)", uid, u.Username)
	}
	return fmt.Sprintf("user %d", uid)
}

// Path returns the path of a file of the folder.
func (s *State) Path(name string) string { return filepath.Join(s.dir, name) }

// AdminToken returns the digest of the admin token. If there is none, one of
// 256 random bits is made and stored, readable by its owner only.
func (s *State) AdminToken() (digest [32]byte, err error) {
	path := s.Path(TokenFile)
	var random [32]byte
	rand.Read(random[:])
	fresh := "wat_" + base64.RawURLEncoding.EncodeToString(random[:])
	err = secret.CreatePrivate(path, []byte(fresh+"\n"))
	switch {
	case err == nil:
		return sha256.Sum256([]byte(fresh)), nil
	case !errors.Is(err, fs.ErrExist):
		return digest, fmt.Errorf("cannot store the admin token: %s: %w", path, err)
	}
	token, err := ReadToken(path)
	if err != nil {
		return digest, err
	}
	return sha256.Sum256(token), nil
}

// ReadToken reads an admin token from a file that only its owner may read.
func ReadToken(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("admin token: %w", err)
	}
	if err := ours(info); err != nil {
		return nil, fmt.Errorf("admin token %s: %w", path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("admin token %s: others may read it (mode %04o); remove it and start again, so that a new one is made", path, mode)
	}
	b, err := secret.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("admin token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 32 {
		return nil, fmt.Errorf("admin token %s: is empty or cut short; remove it and start again, so that a new one is made", path)
	}
	return []byte(token), nil
}
