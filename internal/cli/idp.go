package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/keys"
)

type idpCmd struct {
	Check idpCheckCmd `cmd:"" help:"Can tokens of an identity provider be verified from here? Step by step, with the configuration for it."`
}

type idpCheckCmd struct {
	Issuer   string `arg:"" help:"URL of the issuer, or its name in the configuration file."`
	Config   string `short:"c" help:"Configuration file that has the issuer." placeholder:"FILE"`
	CAFile   string `name:"ca-file" help:"CA certificates to trust beside a URL, PEM; default: the system's." placeholder:"FILE"`
	Audience string `help:"What aud must hold in the token, beside a URL; default: as the token says." placeholder:"TEXT"`
	Token    string `help:"File with an access token to judge; - is standard input." placeholder:"FILE"`
	outputFlag
}

// maxTokenFile bounds the file of a token; longer ones are refused anyway.
const maxTokenFile = 32 << 10

func (c *idpCheckCmd) Run(e *env) error {
	byURL := strings.Contains(c.Issuer, "://")
	if !byURL && c.Config == "" {
		path, err := firstConfig(configHere, configSystem)
		if err != nil {
			return err
		}
		if c.Config = path; path != "" {
			e.using(path)
		}
	}
	switch {
	case byURL && c.Config != "":
		return usageError("a URL and --config together: name the issuer as the file does, or leave the file out")
	case !byURL && c.Config == "":
		return usageError(fmt.Sprintf("%q is not a URL; for a name, add the file it stands in: warder idp check %s -c warder.yaml", c.Issuer, c.Issuer))
	case !byURL && (c.CAFile != "" || c.Audience != ""):
		return usageError("--ca-file and --audience stand beside a URL; a name has them in its configuration")
	}
	token, err := c.readToken(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	report, err := app.CheckIdP(ctx, app.IdPQuestion{Issuer: c.Issuer, Config: c.Config, CAFile: c.CAFile, Audience: c.Audience, Token: token})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		if err := e.json(report); err != nil {
			return err
		}
	} else {
		printIdP(e.out, report)
	}
	if !report.OK {
		return errNo
	}
	return nil
}

func (c *idpCheckCmd) readToken(e *env) (string, error) {
	if c.Token == "" {
		return "", nil
	}
	from := e.in
	if c.Token != "-" {
		f, err := os.Open(c.Token)
		if err != nil {
			return "", err
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, maxTokenFile+1))
	token := strings.TrimSpace(string(b))
	token = strings.TrimPrefix(token, "Bearer ")
	switch {
	case err != nil:
		return "", err
	case token == "" || strings.ContainsAny(token, " \t\r\n"):
		return "", usageError("there must be one token, and nothing else, in " + c.Token)
	case len(b) > maxTokenFile:
		return "", usageError("no token is as long as what is in " + c.Token)
	}
	return token, nil
}

// printIdP writes a report for people.
func printIdP(w io.Writer, r *app.IdPReport) {
	fmt.Fprintln(w, plain(r.Issuer))
	for _, s := range r.Steps {
		printStep(w, s)
	}
	if t := r.Token; t != nil {
		word, what := "ok", "accepted"
		if t.Code != "" {
			word, what = "NO", t.Code
		}
		fmt.Fprintf(w, "  %-4s  %-9s  %s\n", word, "token", what)
		for _, f := range t.Facts {
			fmt.Fprintf(w, "        %-9s  %s %s\n", "", f.Name, plain(f.Value))
		}
		if t.Mend != "" {
			fmt.Fprintf(w, "        %-9s  mend: %s\n", "", plain(t.Mend))
		}
	}
	if r.Config != "" {
		fmt.Fprintf(w, "\nfor the configuration:\n\n%s", r.Config)
	}
}

func printStep(w io.Writer, s keys.ProbeStep) {
	word := map[keys.Outcome]string{keys.StepOK: "ok", keys.StepNote: "note", keys.StepNo: "NO"}[s.Outcome]
	if s.Want == "" {
		fmt.Fprintf(w, "  %-4s  %-9s  %s\n", word, s.Name, plain(s.Saw))
	} else {
		fmt.Fprintf(w, "  %-4s  %-9s  want %s\n        %-9s  saw  %s\n", word, s.Name, plain(s.Want), "", plain(s.Saw))
	}
	if s.Mend != "" {
		fmt.Fprintf(w, "        %-9s  mend: %s\n", "", plain(s.Mend))
	}
}

// plain takes what a terminal would obey out of a text that strangers chose.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
