package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is a PostgreSQL of this test binary alone, on a socket in a folder
// of its own.
type server struct {
	folder string
	cmd    *exec.Cmd
	owner  *syscall.Credential
}

var (
	start   = sync.OnceValues(startServer)
	started atomic.Pointer[server]
	number  atomic.Int64
)

// Postgres returns the address of a new database. Where PostgreSQL is not
// installed the test is skipped. The server ends with Exit, which TestMain
// calls.
func Postgres(t testing.TB) string {
	t.Helper()
	s, err := start()
	if errors.Is(err, errMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	database := fmt.Sprintf("test%d", number.Add(1))
	if err := s.run(t.Context(), "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	return s.address(database)
}

// Exit ends the PostgreSQL that tests have started, and then the process.
func Exit(code int) {
	if s := started.Load(); s != nil {
		s.stop()
	}
	os.Exit(code)
}

func (s *server) address(database string) string {
	return fmt.Sprintf("postgres://warder@/%s?host=%s", database, s.folder)
}

func (s *server) run(ctx context.Context, statement string) error {
	c, err := pgx.Connect(ctx, s.address("postgres"))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, statement)
	return err
}

var errMissing = errors.New("PostgreSQL is not installed; scripts/deps installs it")

// tool returns the path of a program of PostgreSQL, which Debian keeps out of
// the PATH.
func tool(name string) (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1], nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", errMissing
}

func startServer() (_ *server, err error) {
	initdb, err := tool("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := tool("postgres")
	if err != nil {
		return nil, err
	}
	s := &server{}
	if s.folder, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(s.folder)
		}
	}()
	if os.Geteuid() == 0 { // PostgreSQL does not run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, errMissing
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.folder, uid, gid); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(s.folder, "data")
	if out, err := s.command(initdb, "-D", data, "-U", "warder", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// The role guest shows a password; all others are who they say.
	hba := "local all guest scram-sha-256\nlocal all all trust\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		return nil, err
	}
	s.cmd = s.command(postgres, "-D", data, "-k", s.folder, "-h", "", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300", "-c", "shared_buffers=32MB")
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		if err = s.run(context.Background(), "SELECT 1"); err == nil {
			started.Store(s)
			return s, nil
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
		time.Sleep(20 * time.Millisecond) // polling
	}
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = s.folder
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Setpgid: true}
	return c
}

// stop ends the server at once; what it holds is of no use to anybody.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGQUIT)
	s.cmd.Wait()
	os.RemoveAll(s.folder)
}
