package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/warder-gateway/warder/internal/policy/apikey"
)

type keyCmd struct {
	New  keyNewCmd  `cmd:"" help:"Make an API key. It is shown once; the configuration keeps its hash."`
	Hash keyHashCmd `cmd:"" help:"Hash an API key read from standard input."`
}

type keyNewCmd struct{ outputFlag }

// keyOut is a key and the line of configuration that lets it in.
type keyOut struct {
	Key  string `json:"key,omitempty"`
	Hash string `json:"hash"`
}

func (c keyNewCmd) Run(e *env) error {
	key := apikey.Generate()
	return printKey(e, c.Output, keyOut{Key: key, Hash: apikey.Hash(key)})
}

type keyHashCmd struct{ outputFlag }

func (c keyHashCmd) Run(e *env) error {
	line, err := bufio.NewReader(e.in).ReadString('\n')
	key := strings.TrimSpace(line)
	if key == "" {
		return usageError("no key on standard input; pipe one in: printf %s \"$KEY\" | warder key hash")
	}
	if !apikey.WellFormed([]byte(key)) {
		return fmt.Errorf("this is not a Warder key, or it was cut or altered: expected wk_PREFIX_SECRET with a right checksum%s", because(err))
	}
	return printKey(e, c.Output, keyOut{Hash: apikey.Hash(key)})
}

func because(err error) string {
	if err == nil || err.Error() == "EOF" {
		return ""
	}
	return " (" + err.Error() + ")"
}

func printKey(e *env, output string, k keyOut) error {
	if output == "json" {
		return e.json(k)
	}
	if k.Key != "" {
		fmt.Fprintf(e.out, "key (shown this once; give it to the caller):\n  %s\n", k.Key)
	}
	fmt.Fprintf(e.out, "for the configuration, under consumers: NAME: apiKeys:\n  - { hash: \"%s\" }\n", k.Hash)
	return nil
}
