package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/warder-gateway/warder/internal/app"
)

type initCmd struct {
	File     string `arg:"" optional:"" default:"warder.yaml" help:"File to write; it must not exist."`
	Issuer   string `help:"URL of who signs the access tokens." placeholder:"URL"`
	Audience string `help:"What aud is in access tokens for the API." placeholder:"TEXT"`
	Client   string `help:"The client that may call, for Amazon Cognito." placeholder:"ID"`
	CAFile   string `name:"ca-file" help:"CA certificates to trust at the issuer, PEM; default: the system's." placeholder:"FILE"`
	Upstream string `help:"URL of the API behind the gateway." placeholder:"URL"`
	Path     string `help:"Path to protect; default: /**." placeholder:"PATH"`
	Offline  bool   `help:"Write without asking the issuer whether its keys can be had."`

	asked bool // the issuer gave its keys
}

func (c *initCmd) Help() string {
	return `On a terminal it asks for what is missing. Nothing is ever written over.

Example:
  warder init --issuer https://login.example.com/ --audience orders-api --upstream http://127.0.0.1:9000`
}

func (c *initCmd) Run(e *env) error {
	if _, err := os.Lstat(c.File); err == nil {
		return fmt.Errorf("%s is there already; name another file, or move it away", c.File)
	}
	cognito := func() bool { return strings.Contains(c.Issuer, "//cognito-idp.") }
	questions := []struct {
		flag, ask, def string
		to             *string
		needed         func() bool
	}{
		{"issuer", "URL of who signs the access tokens (iss)", "", &c.Issuer, nil},
		{"audience", "what aud is in tokens for the API", "", &c.Audience, func() bool { return !cognito() }},
		{"client", "id of the app client that may call", "", &c.Client, cognito},
		{"upstream", "URL of the API behind the gateway", "", &c.Upstream, nil},
		{"path", "path to protect", "/**", &c.Path, nil},
	}
	var missing []string
	answers, terminal := bufio.NewReader(io.LimitReader(e.in, 64<<10)), isTerminal(e.in)
	for _, q := range questions {
		switch {
		case *q.to != "" || q.needed != nil && !q.needed():
		case terminal:
			for *q.to == "" {
				if err := ask(e.out, answers, q.ask, q.def, q.to); err != nil {
					return err
				}
				if err := c.judge(e, answers, q.to); err != nil {
					return err
				}
			}
		case q.def != "":
			*q.to = q.def
		default:
			missing = append(missing, "--"+q.flag)
		}
	}
	if missing != nil {
		return usageError("there is no terminal to ask on; add " + strings.Join(missing, ", "))
	}
	first := c.first()
	text, err := first.Text()
	if err != nil {
		return fmt.Errorf("this would not load:\n%w", err)
	}
	if !c.Offline && !c.asked {
		if report, err := c.askIssuer(e); err != nil {
			return err
		} else if !report.OK {
			return errors.New("nothing is written: the issuer's keys cannot be had from here; --offline writes all the same")
		}
	}
	if err := writeNew(c.File, text); err != nil {
		return err
	}
	fmt.Fprintf(e.out, `
%[1]s is written. Next:
  warder check -c %[1]s                     is it right?
  warder run -c %[1]s --state ./state       listens on 127.0.0.1:8080
  curl -i -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080%[2]s
  warder explain --state ./state last       why was it let in, or turned away?
`, c.File, strings.TrimSuffix(c.Path, "**"))
	return nil
}

func (c *initCmd) first() app.FirstConfig {
	return app.FirstConfig{File: c.File, Issuer: c.Issuer, Audience: c.Audience, Client: c.Client, CAFile: c.CAFile, Upstream: c.Upstream, Path: c.Path}
}

// judge says what is wrong with an answer just given, and takes it back: the
// question is put again, and what was answered before is kept. An issuer is
// asked for its keys at once.
func (c *initCmd) judge(e *env, answers *bufio.Reader, to *string) error {
	if err := c.first().Judge(); err != nil {
		fmt.Fprintf(e.out, "  this would not load:\n  %s\n", strings.ReplaceAll(err.Error(), "\n", "\n  "))
		*to = ""
		return nil
	}
	if to != &c.Issuer || c.Offline {
		return nil
	}
	report, err := c.askIssuer(e)
	switch {
	case err != nil:
		return err
	case report.OK:
		c.asked = true
		return nil
	case report.Means == "":
		fmt.Fprintln(e.out, "  the issuer's keys cannot be had from here; give another URL, or end with Ctrl-C: --offline writes all the same")
		*to = ""
		return nil
	}
	*to = ""
	if err := ask(e.out, answers, "the issuer as it calls itself", report.Means, to); err != nil {
		return err
	}
	return c.judge(e, answers, to)
}

// askIssuer goes the way to the issuer's keys and shows it.
func (c *initCmd) askIssuer(e *env) (*app.IdPReport, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	report, err := app.CheckIdP(ctx, app.IdPQuestion{Issuer: c.Issuer, CAFile: c.CAFile, Audience: c.Audience})
	if err != nil {
		return nil, err
	}
	report.Config = "" // it is in the file
	printIdP(e.out, report)
	return report, nil
}

// ask puts one question until it is answered.
func ask(out io.Writer, in *bufio.Reader, question, def string, to *string) error {
	for *to == "" {
		fmt.Fprint(out, question)
		if def != "" {
			fmt.Fprintf(out, " [%s]", def)
		}
		fmt.Fprint(out, ": ")
		line, err := in.ReadString('\n')
		*to = strings.TrimSpace(line)
		if *to == "" && err == nil {
			*to = def
		}
		if *to == "" && err != nil {
			fmt.Fprintln(out)
			return errors.New("nothing is written: a question was not answered")
		}
	}
	return nil
}

// isTerminal reports whether somebody may answer.
func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// writeNew writes a file that was not there.
func writeNew(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(name)
		return err
	}
	return nil
}
