package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/warder-gateway/warder/internal/admin"
	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/events"
	"github.com/warder-gateway/warder/internal/secret"
)

type explainCmd struct {
	What   []string `arg:"" help:"A request id; 'last', the newest refusal (or else the newest request); METHOD URL of a request to make up; or 'route' NAME."`
	Header []string `short:"H" sep:"none" help:"Header field of the made-up request, as 'Name: value'; or @FILE, which has one a line: other users of the machine see command lines." placeholder:"FIELD"`
	From   string   `help:"Address the made-up request comes from." placeholder:"ADDRESS"`
	adminFlags
	outputFlag
}

// Help is shown by explain --help.
func (explainCmd) Help() string {
	return `Examples:
  warder explain last
  warder explain 7f0c2a…                          the X-Request-Id of a response
  warder explain GET https://api.example.com/orders/1 -H @fields    with a line Authorization: Bearer …
  warder explain route read-orders`
}

func (c *explainCmd) Run(e *env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	switch {
	case len(c.What) == 2 && c.What[0] == "route":
		return c.route(e, client, c.What[1])
	case len(c.What) == 2:
		fields, err := headers(c.Header)
		if err != nil {
			return err
		}
		q := admin.Question{Method: c.What[0], URL: c.What[1], Headers: fields, Client: c.From}
		return c.explanation(e, client, http.MethodPost, "/v1/explain", q)
	case len(c.What) == 1:
		return c.explanation(e, client, http.MethodGet, "/v1/requests/"+url.PathEscape(c.What[0]), nil)
	}
	return usageError("explain takes a request id, last, METHOD URL, or route NAME")
}

// maxFields bounds a file of header fields, in bytes.
const maxFields = 64 << 10

// headers returns fields with those of files in place of their names.
func headers(given []string) (all []string, err error) {
	for _, g := range given {
		name, isFile := strings.CutPrefix(g, "@")
		if !isFile {
			all = append(all, g)
			continue
		}
		b, err := secret.ReadRegular(name, maxFields+1)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		case len(b) > maxFields:
			return nil, usageError(fmt.Sprintf("%s is larger than %d KiB", name, maxFields>>10))
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				all = append(all, line)
			}
		}
	}
	return all, nil
}

func (c *explainCmd) explanation(e *env, client *adminClient, method, path string, body any) error {
	var x events.Explanation
	if err := client.call(method, path, body, &x); err != nil {
		return err
	}
	if c.Output == "json" {
		return e.json(x)
	}
	printExplanation(e.out, &x)
	return nil
}

func (c *explainCmd) route(e *env, client *adminClient, name string) error {
	var r app.RouteDetail
	if err := client.call(http.MethodGet, "/v1/routes/"+url.PathEscape(name), nil, &r); err != nil {
		return err
	}
	if c.Output == "json" {
		return e.json(r)
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	host := r.Host
	if host == "" {
		host = "(any host without routes of its own)"
	}
	fmt.Fprintf(w, "route\t%s\nhost\t%s\npath\t%s\nmethods\t%s\nupstream\t%s\n", r.Name, host, r.Path, strings.Join(r.Methods, " "), r.Upstream)
	for _, l := range r.Bounds {
		fmt.Fprintf(w, "%s\t%s\n", l.Name, l.Value)
	}
	for _, check := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\n", check.Name, check.Value)
	}
	return w.Flush()
}

// printExplanation writes the trail as operators read it.
func printExplanation(w io.Writer, x *events.Explanation) {
	verdict := fmt.Sprint(x.Status)
	if x.Code != "" {
		verdict += " " + x.Code
	}
	if x.MadeUp && x.Code == "" {
		verdict = "allowed"
	}
	var facts []string
	if x.Route != "" {
		facts = append(facts, "route "+x.Route)
	}
	if x.MadeUp {
		facts = append(facts, "made up, nothing charged or sent")
	} else {
		facts = append(facts, x.Time.UTC().Format("15:04:05Z"), x.Client, "request "+x.ID)
	}
	fmt.Fprintf(w, "%s %s -> %s    %s\n", x.Method, x.Path, verdict, strings.Join(facts, " · "))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range x.Steps {
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\n", s.Outcome, s.Phase, s.Name, s.Saw)
	}
	tw.Flush()
	if x.Reason != "" && !slices.ContainsFunc(x.Steps, func(s events.ExplanationStep) bool { return strings.Contains(s.Saw, x.Reason) }) {
		fmt.Fprintf(w, "       why:  %s\n", x.Reason)
	}
	if x.Target != "" {
		fmt.Fprintf(w, "       sent to %s\n", x.Target)
	}
	if x.Mend != "" {
		fmt.Fprintf(w, "       mend: %s\n", x.Mend)
	}
}

// adminClient asks a running gateway.
type adminClient struct {
	base  string
	from  string // how it is known, behind a comma; empty: it was said, or is the default
	token string
	http  *http.Client
}

// find fills in where the admin surface is, if that was not said. A file that
// happens to be there and cannot be used changes nothing: it may just be
// edited, while the gateway runs with what it was.
func (f *adminFlags) find() error {
	if f.Admin != "" {
		return nil
	}
	path := f.Config
	if path == "" {
		path, _ = firstConfig(configHere, configSystem)
	}
	if path != "" {
		address, err := app.AdminURL(path)
		if err == nil {
			f.Admin, f.from = address, ", the admin.address of "+path
			return nil
		} else if f.Config != "" {
			return err
		}
	}
	f.Admin = "http://127.0.0.1:8901"
	return nil
}

func (f *adminFlags) client() (*adminClient, error) {
	if err := f.find(); err != nil {
		return nil, err
	}
	u, err := url.Parse(f.Admin)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError("--admin wants a URL such as http://127.0.0.1:8901")
	}
	path := f.TokenFile
	if path == "" {
		path = filepath.Join(f.State, app.TokenFile)
	}
	token, err := app.ReadToken(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no admin token at %s; name the folder the gateway keeps its state in with --state, or the file with --token-file", path)
	} else if err != nil {
		return nil, err
	}
	return &adminClient{strings.TrimSuffix(f.Admin, "/"), f.from, string(token), &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// maxAnswer bounds what is read from a gateway, in bytes.
const maxAnswer = 4 << 20

// call sends body, if any, as JSON and decodes the answer into out.
func (c *adminClient) call(method, path string, body, out any) error {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, c.base+path, send)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway answers at %s%s: %w; is it running? Another address is named with --admin, or by its configuration with -c", c.base, c.from, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Title string }
		json.Unmarshal(b, &p)
		if resp.StatusCode == http.StatusUnauthorized {
			return fmt.Errorf("the gateway at %s does not accept this admin token; name the folder it keeps its state in with --state, or the file of its token with --token-file", c.base)
		}
		if p.Title == "" {
			p.Title = resp.Status
		}
		return errors.New(p.Title)
	}
	return json.Unmarshal(b, out)
}
