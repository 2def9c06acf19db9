package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/warder-gateway/warder/internal/cli"
)

var command = regexp.MustCompile(`(?m)^  (\S+(?: \S+)?)  +\S`)

// commandLine is the help of every command, word for word.
func commandLine() ([]byte, error) {
	// What help depends on besides the code.
	os.Unsetenv("COLUMNS")
	os.Setenv("STATE_DIRECTORY", "/var/lib/warder")

	root, err := help()
	if err != nil {
		return nil, err
	}
	_, list, ok := strings.Cut(root, "\nCommands:\n")
	if !ok {
		return nil, fmt.Errorf("no commands in:\n%s", root)
	}
	var b strings.Builder
	title(&b, "Command line", "What `--help` says of every command. Exit status: 0 all is well, 1 the answer is no (a check failed, a gateway could not start), 2 the command was used wrongly.")
	fmt.Fprintf(&b, "\n## warder\n\n```text\n%s```\n", root)
	for _, m := range command.FindAllStringSubmatch(list, -1) {
		text, err := help(strings.Fields(m[1])...)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "\n## warder %s\n\n```text\n%s```\n", m[1], text)
	}
	return []byte(b.String()), nil
}

func help(args ...string) (string, error) {
	var out, errOut bytes.Buffer
	if n := cli.Main(append(args, "--help"), strings.NewReader(""), &out, &errOut); n != 0 {
		return "", fmt.Errorf("warder %s --help ends with %d: %s", strings.Join(args, " "), n, errOut.String())
	}
	return out.String(), nil
}
