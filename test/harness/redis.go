package harness

import (
	"fmt"
	"testing"
)

// Redis is a real server that keeps nothing on disk.
type Redis struct {
	*Process
	Address string
	port    int
	dir     string
}

// StartRedis starts one that wants this password.
func StartRedis(t testing.TB, password string) *Redis {
	t.Helper()
	r := &Redis{port: FreePort(t), dir: t.TempDir()}
	r.Address = fmt.Sprintf("127.0.0.1:%d", r.port)
	r.Revive(t, password)
	return r
}

// Revive starts it again at the same address, empty.
func (r *Redis) Revive(t testing.TB, password string) {
	t.Helper()
	r.Process = start(t, r.dir, need(t, "redis-server"), "--bind", "127.0.0.1", "--port", fmt.Sprint(r.port),
		"--save", "", "--appendonly", "no", "--dir", r.dir, "--requirepass", password)
	listening(t, r.Process, r.port)
}
