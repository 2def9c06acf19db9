// Package cli is the command line. Its commands are thin: each calls app, the
// admin surface of a running gateway, or a pure function.
//
// Exit status is 0 when all is well, 1 when the answer is no (a check failed,
// a gateway could not start), 2 when a command was used wrongly.
package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// The exit statuses.
const (
	exitFine  = 0
	exitNo    = 1
	exitUsage = 2
)

// root is the command line as kong reads it.
type root struct {
	Quickstart quickstartCmd `cmd:"" help:"Run a whole demo on loopback: gateway, authorization server, two backends."`
	Run        runCmd        `cmd:"" help:"Run the gateway with a configuration file."`
	Check      checkCmd      `cmd:"" help:"Check a configuration file without starting anything."`
	Explain    explainCmd    `cmd:"" help:"Explain why a request was let in or turned away."`
	Init       initCmd       `cmd:"" help:"Write a first configuration: who signs the tokens, where the API is, one protected route."`
	IdP        idpCmd        `cmd:"" name:"idp" help:"Check identity providers."`
	Consumer   consumerCmd   `cmd:"" help:"Add, list and delete consumers of the store."`
	Key        keyCmd        `cmd:"" help:"Make, list and revoke API keys."`
	Password   passwordCmd   `cmd:"" help:"Hash passwords for the configuration."`
	Token      tokenCmd      `cmd:"" help:"Revoke tokens, and list what was revoked."`
	Store      storeCmd      `cmd:"" help:"Back up, restore and check the store."`
	Rotate     rotateCmd     `cmd:"" help:"Replace keys by new ones: those of consumers, and those Warder seals with."`
	Schema     schemaCmd     `cmd:"" help:"Print the JSON Schema of the configuration, for editors."`
	Version    versionCmd    `cmd:"" help:"Print the version and what is built in."`
}

// env is what commands work with.
type env struct {
	in       io.Reader
	out, err io.Writer
}

// outputFlag is the choice of form on every command that prints data.
type outputFlag struct {
	Output string `enum:"text,json" default:"text" help:"Form of the output: ${enum}."`
}

// adminFlags say how to reach a running gateway.
type adminFlags struct {
	Config    string `short:"c" help:"Configuration file of the gateway, for its admin.address; default: ./warder.yaml, else /etc/warder/warder.yaml." placeholder:"FILE"`
	Admin     string `env:"WARDER_ADMIN" help:"URL of the gateway's admin surface; default: admin.address of the configuration, else http://127.0.0.1:8901." placeholder:"URL"`
	State     string `default:"${state}" help:"State folder of the gateway, where its admin token is; default: ${where}." placeholder:"DIR"`
	TokenFile string `env:"WARDER_TOKEN_FILE" help:"File that holds the admin token; default: admin.token in the state folder." placeholder:"FILE"`

	from string // says how Admin was found
}

const description = `Warder is a secure API gateway: the single entry point in front of your APIs.

First steps:
  warder quickstart                     a running demo in one command
  warder check -c warder.yaml           is this configuration right?
  warder run -c warder.yaml             run it
  warder explain last                   why was the last request turned away?`

// Main runs one command line and returns its exit status.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	var r root
	code := -1
	parser, err := kong.New(&r,
		kong.Name("warder"), kong.Description(description),
		kong.Writers(out, errOut),
		kong.Exit(func(n int) { code = n }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"state": app.DefaultState(), "where": cmp.Or(app.DefaultState(), "none, for want of a home")},
	)
	if err != nil {
		panic(err) // the types above are wrong, which every test sees
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	ctx, err := parser.Parse(args)
	if code >= 0 { // --help was printed
		return code
	}
	if err != nil {
		fmt.Fprintf(errOut, "warder: %v%s\n", err, slip(args))
		fmt.Fprintf(errOut, "See: warder %s--help\n", commandOf(parser, args))
		return exitUsage
	}
	err = ctx.Run(&env{in, out, errOut})
	var usage usageError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &usage):
		fmt.Fprintf(errOut, "warder: %v\n", err)
		return exitUsage
	case errors.Is(err, errNo):
		return exitNo // what there is to say was said
	}
	fmt.Fprintf(errOut, "warder: %v\n", err)
	return exitNo
}

// commandOf returns the words that args begin with and that are a command,
// each with a blank behind it, for a hint.
func commandOf(parser *kong.Kong, args []string) string {
	words, node := "", parser.Model.Node
	for _, arg := range args {
		i := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == arg && c.Type == kong.CommandNode })
		if i < 0 {
			break
		}
		words, node = words+arg+" ", node.Children[i]
	}
	return words
}

// slip returns what to do about a command line that names its configuration
// file without -c; empty for any other.
func slip(args []string) string {
	if len(args) > 1 && (args[0] == "check" || args[0] == "run") && !strings.HasPrefix(args[1], "-") {
		return "; the configuration file follows -c: warder " + args[0] + " -c " + quote(args[1])
	}
	return ""
}

// usageError is a command used wrongly.
type usageError string

func (e usageError) Error() string { return string(e) }

// errNo ends a command that has printed why the answer is no.
var errNo = errors.New("no")

func (e *env) json(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

type runCmd struct {
	configFlag
	State string `default:"${state}" help:"State folder: admin token, keys; default: ${where}." placeholder:"DIR"`
}

func (c *runCmd) Run(e *env) error {
	found := c.Config == ""
	if err := c.find(); err != nil {
		return err
	}
	path, err := filepath.Abs(c.Config)
	if err != nil {
		return err
	}
	if found {
		telemetry.NewLogger(e.err, slog.LevelInfo).Info("configuration found; for another, add -c FILE", "config", path)
	}
	return app.Run(app.Options{Config: path, State: c.State, Stdout: e.out, Stderr: e.err, Version: version()}, signals())
}

// signals returns the channel on which the process is told to end or reload.
func signals() <-chan os.Signal {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	return ch
}

type checkCmd struct {
	configFlag
	State string `default:"${state}" help:"State folder of the gateway, where its store may be: consumers that the file does not have are looked for there." placeholder:"DIR"`
	outputFlag
}

func (c *checkCmd) Run(e *env) error {
	if c.Config == "" {
		if err := c.find(); err != nil {
			return err
		}
		e.using(c.Config)
	}
	report, err := app.Check(c.Config, c.State)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		if err := e.json(report); err != nil {
			return err
		}
	} else {
		for _, p := range report.Problems {
			fmt.Fprintln(e.out, p)
		}
		for _, w := range report.Warnings {
			fmt.Fprintln(e.out, "warning:", w)
		}
		if len(report.Problems) == 0 {
			fmt.Fprintf(e.out, "%s is right: %s, %s, %s, %s\n", c.Config,
				count(report.Routes, "route"), count(report.Issuers, "issuer"), count(report.Upstreams, "upstream"), count(report.Consumers, "consumer"))
			if len(report.Elsewhere) > 0 {
				fmt.Fprintf(e.out, "not in this file, so to be found in the store: %s %s\n", plural(len(report.Elsewhere), "consumer"), strings.Join(report.Elsewhere, ", "))
			}
		} else {
			fmt.Fprintf(e.out, "%s: %s%s\n", c.Config, count(len(report.Problems), "problem"), unjudged(report))
		}
	}
	if len(report.Problems) > 0 {
		return errNo
	}
	return nil
}

// unjudged says what a check did not come to.
func unjudged(r *app.CheckReport) string {
	switch {
	case r.Unread:
		return "; mend it, then check again: the rest was not judged yet"
	case r.Unjudged > 0:
		return "; mend " + them(len(r.Problems)) + ", then check again: " + count(r.Unjudged, "route") + " could not be judged in full yet"
	}
	return ""
}

func them(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// count writes a number of things.
func count(n int, thing string) string { return fmt.Sprint(n, " ", plural(n, thing)) }

func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thing
}

type schemaCmd struct{}

func (schemaCmd) Run(e *env) error {
	schema, err := app.Schema()
	if err != nil {
		return err
	}
	_, err = e.out.Write(append(schema, '\n'))
	return err
}
