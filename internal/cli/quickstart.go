package cli

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/warder-gateway/warder/internal/app"
)

type quickstartCmd struct {
	Address string `default:"127.0.0.1:8080" help:"Loopback address of the gateway; the next free port is taken if it is busy." placeholder:"ADDRESS"`
	Admin   string `default:"127.0.0.1:8901" help:"Loopback address of the admin surface; likewise." placeholder:"ADDRESS"`
}

func (c *quickstartCmd) Run(e *env) error {
	return app.Quickstart(app.QuickstartOptions{
		Address: c.Address, Admin: c.Admin, Stderr: e.err, Version: version(),
		Started: func(d app.Demo) { printDemo(e, d) },
	}, signals())
}

// printDemo prints what to type next.
func printDemo(e *env, d app.Demo) {
	explain := startedAs() + " explain"
	// A configuration that happens to be here would send explain elsewhere.
	if here, _ := firstConfig(configHere, configSystem); here != "" || d.AdminURL != "http://127.0.0.1:8901" {
		explain += " --admin " + d.AdminURL
	}
	explain += " --token-file " + quote(d.TokenFile) + " last"
	u, _ := url.Parse(d.GatewayURL)
	fmt.Fprintf(e.out, `Warder quickstart: loopback only; state in %s (removed on Ctrl-C)
gateway %s   admin %s
1  token     TOKEN=$(curl -s -u demo:%s -d grant_type=client_credentials -d scope=orders:read %s/auth/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
2  allowed   curl -i -H "Authorization: Bearer $TOKEN" %s/orders/1        # 200
3  refused   curl -i -X POST -H "Authorization: Bearer $TOKEN" %s/orders  # 403 scope_missing
4  why       %s
config it runs: %s
`, d.Folder, d.GatewayURL, d.AdminURL, d.Secret, u, u, u, explain, d.Config)
}

// startedAs returns how this program was started, so that the line can be
// typed again.
func startedAs() string {
	self, err := os.Executable()
	// go run builds into a folder of its own that is gone afterwards.
	if err != nil || strings.Contains(self, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/warder"
	}
	return quote(os.Args[0])
}

// quote makes a word safe to paste into a shell.
func quote(s string) string {
	if !strings.ContainsAny(s, " \t'\"$`\\*?[]{}()<>|&;#~!") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
