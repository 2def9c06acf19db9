// Command warder is a secure API gateway. Run it without arguments to see what
// it can do.
package main

import (
	"os"

	"github.com/warder-gateway/warder/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
