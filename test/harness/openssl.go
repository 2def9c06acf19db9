package harness

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// CA is a certification authority as operators make one: by openssl, with its
// files.
type CA struct {
	t    testing.TB
	dir  string
	File string // its certificate
}

const opensslConf = `
[ca]
default_ca = here
[here]
dir = .
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
default_md = sha256
default_days = 2
default_crl_days = 1
unique_subject = no
policy = any
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
[responder]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = OCSPSigning
`

// StartCA makes a CA.
func StartCA(t testing.TB) *CA {
	t.Helper()
	need(t, "openssl")
	c := &CA{t: t, dir: t.TempDir()}
	c.File = filepath.Join(c.dir, "ca.crt")
	for name, text := range map[string]string{"openssl.cnf": opensslConf, "index.txt": "", "serial": "1000\n", "crlnumber": "01\n"} {
		write(t, filepath.Join(c.dir, name), text)
	}
	c.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=Partners CA", "-days", "2", "-config", "openssl.cnf", "-extensions", "root")
	return c
}

func (c *CA) run(args ...string) {
	c.t.Helper()
	if err := c.openssl(args...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *CA) openssl(args ...string) error {
	cmd := exec.Command("openssl", args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("openssl %v: %w\n%s", args, err, out)
	}
	return nil
}

// Issue makes a client's certificate for a DNS name, and returns the files.
func (c *CA) Issue(dns string) (cert, key string) {
	c.t.Helper()
	return c.issue(dns, "client", "-addext", "subjectAltName=DNS:"+dns)
}

func (c *CA) issue(name, kind string, more ...string) (cert, key string) {
	c.t.Helper()
	c.run(append([]string{"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name, "-config", "openssl.cnf"}, more...)...)
	c.run("ca", "-batch", "-notext", "-config", "openssl.cnf", "-in", name+".csr", "-out", name+".crt", "-extensions", kind)
	return filepath.Join(c.dir, name+".crt"), filepath.Join(c.dir, name+".key")
}

// Revoke takes back the certificate of a DNS name.
func (c *CA) Revoke(dns string) {
	c.t.Helper()
	c.run("ca", "-config", "openssl.cnf", "-revoke", dns+".crt")
}

// List writes the list of revoked certificates and returns the file.
func (c *CA) List() string {
	c.t.Helper()
	c.run("ca", "-config", "openssl.cnf", "-gencrl", "-out", "ca.crl")
	return filepath.Join(c.dir, "ca.crl")
}

// Responder starts an OCSP responder, in which openssl answers: it knows what
// was revoked until now. It returns its URL.
func (c *CA) Responder() string {
	c.t.Helper()
	c.issue("responder", "responder")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, answer := filepath.Join(c.t.TempDir(), "question"), filepath.Join(c.t.TempDir(), "answer")
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(question, b, 0o600)
		}
		if err == nil {
			err = c.openssl("ocsp", "-index", "index.txt", "-rsigner", "responder.crt", "-rkey", "responder.key", "-CA", "ca.crt", "-nmin", "5", "-reqin", question, "-respout", answer)
		}
		if err == nil {
			b, err = os.ReadFile(answer)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(b)
	}))
	c.t.Cleanup(srv.Close)
	return srv.URL
}

const nginxCertsConf = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server {
		listen 127.0.0.1:%d ssl;
		ssl_certificate %s;
		ssl_certificate_key %s;
		ssl_verify_client optional_no_ca;
		location / {
			proxy_pass https://%s;
			proxy_ssl_server_name on;
			proxy_ssl_name $host;
			proxy_set_header Host $host;
			proxy_set_header X-Forwarded-Client-Cert 'Cert="$ssl_client_escaped_cert"';
		}
	}
}
`

// NginxForwardingCertificates starts an nginx before the address, which asks
// its clients for certificates, believes all of them, and forwards them in
// X-Forwarded-Client-Cert. It returns its address.
func NginxForwardingCertificates(t testing.TB, address, cert, key string) string {
	t.Helper()
	program, dir, port := need(t, "nginx"), t.TempDir(), FreePort(t)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(nginxCertsConf, port, cert, key, address))
	p := start(t, dir, program, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	listening(t, p, port)
	return fmt.Sprintf("127.0.0.1:%d", port)
}
