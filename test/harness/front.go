package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Front is another vendor's proxy before the gateway, which keeps its
// connections to it and shares them among clients.
type Front struct {
	*Process
	Address string
	log     func() string
	line    *regexp.Regexp // of its log, for a request that it sent on; captures the target
}

// Accepted returns how often the front sent each target on, scheme and host
// left out. To be asked when the front has ended: only then is its log whole.
func (f *Front) Accepted() map[string]int {
	n := map[string]int{}
	for _, m := range f.line.FindAllStringSubmatch(f.log(), -1) {
		target := m[1]
		if _, rest, ok := strings.Cut(target, "://"); ok {
			_, path, _ := strings.Cut(rest, "/")
			target = "/" + path
		}
		n[target]++
	}
	return n
}

const nginxFrontConf = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 512; }
http {
	log_format sent 'sent=$upstream_addr $request_method $request_uri ';
	access_log access.log sent;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	client_header_timeout 2s;
	client_body_timeout 2s;
	lingering_close off;
	underscores_in_headers on;
	ignore_invalid_headers off;
	upstream warder { server %s; keepalive 4; }
	server {
		listen 127.0.0.1:%d;
		merge_slashes off;
		large_client_header_buffers 8 64k;
		location / {
			proxy_pass http://warder;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_request_buffering off;
			proxy_next_upstream off;
		}
	}
}
`

// NginxFront starts an nginx before the address.
func NginxFront(t testing.TB, address string) *Front {
	t.Helper()
	program, dir, port := need(t, "nginx"), t.TempDir(), FreePort(t)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(nginxFrontConf, address, port))
	p := start(t, dir, program, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	listening(t, p, port)
	return &Front{
		Process: p, Address: fmt.Sprintf("127.0.0.1:%d", port),
		line: regexp.MustCompile(`(?m)^sent=127\S+ \S+ (\S+) $`),
		log: func() string {
			text, err := os.ReadFile(filepath.Join(dir, "access.log"))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		},
	}
}

const haproxyConf = `
global
	maxconn 256
	log stdout format raw local0
defaults
	mode http
	log global
	log-format "sent=%%s %%HM %%HU "
	option accept-invalid-http-request
	retries 0
	http-reuse always
	timeout connect 2s
	timeout client 2s
	timeout server 10s
frontend f
	bind 127.0.0.1:%d
	default_backend b
backend b
	server warder %s
`

// HAProxyFront starts an HAProxy before the address, told to be lenient.
func HAProxyFront(t testing.TB, address string) *Front {
	t.Helper()
	program, dir, port := need(t, "haproxy"), t.TempDir(), FreePort(t)
	write(t, filepath.Join(dir, "haproxy.cfg"), fmt.Sprintf(haproxyConf, port, address))
	p := start(t, dir, program, "-db", "-f", "haproxy.cfg")
	listening(t, p, port)
	return &Front{
		Process: p, Address: fmt.Sprintf("127.0.0.1:%d", port),
		line: regexp.MustCompile(`(?m)^sent=warder \S+ (\S+) $`),
		log:  p.Stdout.String,
	}
}
