package app_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/warder-gateway/warder/internal/app"
)

func TestTheAuthorizationServerMayLiveAtAnyKindOfHost(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{"http://127.0.0.1:8080/auth", "http://[::1]:8080/auth", "http://localhost/auth", "https://login.example.com:8443/a/b"} {
		path := filepath.Join(t.TempDir(), "warder.yaml")
		document := "authorizationServer: { issuer: \"" + issuer + "\", clients: { c: { secret: \"sha256:abababababababababababababababababababababababababababababababab\", audience: a } } }\n" +
			"upstreams: { b: [http://127.0.0.1:1] }\nroutes: [{ host: api.example.com, path: /x, upstream: b, auth: none }]\n"
		if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := app.Check(path, "")
		if err != nil || len(report.Problems) > 0 || report.Routes != 1 || report.Upstreams != 1 {
			t.Errorf("%s: %v %+v", issuer, err, report)
		}
	}
}
