package cli

import (
	"fmt"
	"runtime/debug"
	"strings"
)

type versionCmd struct{ outputFlag }

// build is what a binary says of itself.
type build struct {
	Version  string   `json:"version"`
	Commit   string   `json:"commit,omitempty"`
	Modified bool     `json:"modified,omitempty"`
	Go       string   `json:"go"`
	Target   string   `json:"target"`
	Modules  []string `json:"modules"`
}

func (c versionCmd) Run(e *env) error {
	b := readBuild()
	if c.Output == "json" {
		return e.json(b)
	}
	fmt.Fprintf(e.out, "warder %s (%s, %s)\n", b.Version, b.Go, b.Target)
	if b.Commit != "" {
		fmt.Fprintf(e.out, "commit %s\n", b.Commit)
	}
	for _, m := range b.Modules {
		fmt.Fprintf(e.out, "  %s\n", m)
	}
	return nil
}

func version() string { return readBuild().Version }

func readBuild() build {
	b := build{Version: "unknown", Modules: []string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go, b.Version = info.GoVersion, strings.Trim(info.Main.Version, "()")
	target := map[string]string{}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "GOOS", "GOARCH":
			target[s.Key] = s.Value
		}
	}
	b.Target = target["GOOS"] + "/" + target["GOARCH"]
	for _, m := range info.Deps {
		b.Modules = append(b.Modules, m.Path+" "+m.Version)
	}
	return b
}
