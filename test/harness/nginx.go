package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Backend is an nginx that answers every request with what it saw of it.
type Backend struct {
	*Process
	Name string
	URL  string
	log  string
}

// SlowPath answers with SlowSize bytes in about four seconds.
const (
	SlowPath = "/orders/slow"
	SlowSize = 400_000
)

// Seen is what a backend saw of a request.
type Seen struct {
	Backend       string
	Method        string
	URI           string // as received, with the query
	Host          string
	Authorization string
	ForwardedFor  string
	RequestID     string
	Via           string
}

const nginxConf = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
	log_format hits '$request_method $request_uri';
	access_log access.log hits;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	default_type application/json;
	keepalive_requests 100000;
	server {
		listen 127.0.0.1:%d;
		merge_slashes off;
		location = %s { alias slow.bin; limit_rate 100000; }
		location / {
			return 200 '{"backend":"%s","method":"$request_method","uri":"$request_uri","host":"$http_host","authorization":"$http_authorization","forwardedFor":"$http_x_forwarded_for","requestId":"$http_x_request_id","via":"$http_via"}';
		}
	}
}
`

// Nginx starts a backend with this name.
func Nginx(t testing.TB, name string) *Backend {
	t.Helper()
	program := need(t, "nginx")
	dir := t.TempDir()
	port := FreePort(t)
	write(t, filepath.Join(dir, "slow.bin"), strings.Repeat("0123456789", SlowSize/10))
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(nginxConf, port, SlowPath, name))
	p := start(t, dir, program, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	listening(t, p, port)
	return &Backend{Process: p, Name: name, URL: fmt.Sprintf("http://127.0.0.1:%d", port), log: filepath.Join(dir, "access.log")}
}

// Hits returns how many requests the backend answered so far.
func (b *Backend) Hits(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(b.log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// Seen reads what a backend answered.
func (r *Response) Seen(t testing.TB) Seen {
	t.Helper()
	var s Seen
	if err := json.Unmarshal(r.Body, &s); err != nil || s.Backend == "" {
		t.Fatalf("this is no answer of a backend: %v\n%s", err, r.Body)
	}
	return s
}
