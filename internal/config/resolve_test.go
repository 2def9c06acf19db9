package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/warder-gateway/warder/internal/config"
)

const canary = "canary-7f3a-do-not-print"

var sources = config.Sources{
	Env: func(name string) (string, bool) {
		v, ok := map[string]string{"PORT": "9443", "EMPTY": "", "SECRET": canary, "BAD": "nowhere", "LARGE": strings.Repeat("x", 70<<10)}[name]
		return v, ok
	},
	File: func(path string) ([]byte, error) {
		switch path {
		case "conf/a.secret":
			return []byte(canary + "\n"), nil
		case "/etc/b.secret":
			return []byte("b"), nil
		case "conf/nul":
			return []byte("a\x00b"), nil
		case "conf/two-lines":
			return []byte("a\n\n"), nil
		case "conf/dos":
			return []byte("a\r\n"), nil
		case "conf/large":
			return []byte(strings.Repeat("x", 70<<10)), nil
		case "conf/empty":
			return []byte("\n"), nil
		}
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	},
}

func secretOf(ref string) string {
	return "authorizationServer: { issuer: https://a.example.com, clients: { a: { audience: x, secret: " + ref + " } } }\n"
}

func TestReferencesAreResolvedInSecretsAndAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, ref, want string }{
		{"variable", `"${env:SECRET}"`, canary},
		{"within text", `"<${env:PORT}-${env:PORT}>"`, "<9443-9443>"},
		{"default for what is not set", `"${env:NONE:-else}"`, "else"},
		{"default for what is empty", `"${env:EMPTY:-else}"`, "else"},
		{"no default where it is set", `"${env:PORT:-else}"`, "9443"},
		{"escaped", `"$${env:PORT}${env:PORT}"`, "${env:PORT}9443"},
		{"file beside the document", `"${file:a.secret}"`, canary},
		{"one newline at the end does not count", `"${file:two-lines}"`, "a\n"},
		{"nor does one of DOS", `"${file:dos}"`, "a"},
		{"file elsewhere", `"${file:/etc/b.secret}"`, "b"},
		{"what a variable says is not read again", `"${env:NONE:-$${env:PORT}"`, "$${env:PORT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc, problems := config.Decode("conf/warder.yaml", []byte(secretOf(c.ref)), vocabulary)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			client := doc.AuthorizationServer.Clients.Get("a")
			if !client.Secret.IsZero() {
				t.Error("the secret is not empty before Resolve")
			}
			if problems := config.Resolve(doc, sources); len(problems) > 0 {
				t.Fatal(problems)
			}
			if !client.Secret.Equal([]byte(c.want)) {
				t.Errorf("the secret is %q, want %q", client.Secret.Reveal(), c.want)
			}
		})
	}
}

func TestReferencesThatCannotBeFollowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, src, want string }{
		{"variable not set", secretOf(`"${env:NONE}"`), "authorizationServer.clients.a.secret: the environment variable NONE is not set, or is empty"},
		{"variable empty", secretOf(`"${env:EMPTY}"`), "the environment variable EMPTY is not set, or is empty"},
		{"no such file", secretOf(`"${file:b}"`), "open conf/b: file does not exist"},
		{"a NUL byte", secretOf(`"${file:nul}"`), "the file nul holds a NUL byte: a secret is text"},
		{"a large file", secretOf(`"${file:large}"`), "larger than 64 KiB"},
		{"empty file", secretOf(`"${file:empty}"`), "the file empty is empty"},
		{"too large", secretOf(`"${env:LARGE}"`), "larger than 64 KiB"},
		{"no address", "listeners: [{ address: \"${env:BAD}\" }]", `listeners[0].address: "nowhere" is not an address to listen on`},
		{"plain beyond loopback", "listeners: [{ address: \":${env:PORT}\" }]", "a plain listener beyond loopback: :9443"},
		{"admin beyond loopback", "admin: { address: \"0.0.0.0:${env:PORT}\" }", "the admin address 0.0.0.0:9443 is beyond loopback"},
		{"taken twice", "admin: { address: \"127.0.0.1:${env:PORT}\" }\nlisteners: [{ address: 127.0.0.1:9443 }]", "the address is taken by listeners[0].address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			doc, problems := config.Decode("conf/warder.yaml", []byte(c.src), vocabulary)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			problems = config.Resolve(doc, sources)
			if len(problems) != 1 || !strings.Contains(problems.Error(), c.want) {
				t.Errorf("got %v, want %q", problems, c.want)
			}
			if !cmp.Equal(doc.Problems(), problems) {
				t.Errorf("the document keeps %v", doc.Problems())
			}
		})
	}
}

func TestWithoutSourcesNothingIsResolved(t *testing.T) {
	t.Parallel()
	doc := good(t, secretOf(`"${env:SECRET}"`))
	if problems := config.Resolve(doc, config.Sources{}); len(problems) != 1 {
		t.Errorf("got %v", problems)
	}
}

func TestAddressesTakeAReference(t *testing.T) {
	t.Parallel()
	doc := good(t, "listeners: [{ address: \"127.0.0.1:${env:PORT}\" }, { address: \"127.0.0.1:${env:NONE:-80}\", name: b }]")
	if problems := config.Resolve(doc, sources); len(problems) > 0 {
		t.Fatal(problems)
	}
	if a, b := doc.Listeners[0], doc.Listeners[1]; a.Address != "127.0.0.1:9443" || a.Name != "127.0.0.1:9443" || b.Address != "127.0.0.1:80" || b.Name != "b" {
		t.Errorf("listeners: %+v", doc.Listeners)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	doc := good(t, secretOf(`"${env:SECRET}"`))
	if problems := config.Resolve(doc, sources); len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(verb, doc.AuthorizationServer.Clients), canary) {
			t.Errorf("%s prints a secret", verb)
		}
	}
	for _, src := range []string{
		secretOf(canary),
		secretOf("[" + canary + "]"),
		secretOf(`"${` + canary + `"`),
		"consumers: { a: { apiKeys: [{ hash: " + canary + " }] } }",
		"consumers: { a: { apiKeys: " + canary + " } }",
	} {
		_, problems := config.Decode("warder.yaml", []byte(src), vocabulary)
		if len(problems) == 0 || strings.Contains(problems.Error(), canary) {
			t.Errorf("%q: problems %v", src, problems)
		}
	}
	leak := config.Sources{Env: func(string) (string, bool) { return canary + strings.Repeat("x", 70<<10), true }}
	doc = good(t, secretOf(`"${env:SECRET}"`))
	if problems := config.Resolve(doc, leak); len(problems) != 1 || strings.Contains(problems.Error(), canary) {
		t.Error("a problem repeats what a source said")
	}
}

func TestAClientIsRecognisedByTheDigestOfItsSecret(t *testing.T) {
	t.Parallel()
	const digest = `sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b` // of "secret"
	hashed := good(t, secretOf(`"`+digest+`"`))
	referred := good(t, secretOf(`"${env:A}"`))
	if problems := config.Resolve(referred, config.Sources{Env: func(string) (string, bool) { return "secret", true }}); len(problems) > 0 {
		t.Fatal(problems)
	}
	a, b := hashed.AuthorizationServer.Clients.Get("a").Digest(), referred.AuthorizationServer.Clients.Get("a").Digest()
	if text, _ := a.MarshalText(); string(text) != digest || a != b {
		t.Errorf("digests %s and %x, want %s", text, b, digest)
	}
}

func TestAFailingSourceIsAProblemOfItsReference(t *testing.T) {
	t.Parallel()
	doc := good(t, secretOf(`"${file:x}"`))
	problems := config.Resolve(doc, config.Sources{File: func(string) ([]byte, error) { return nil, errors.New("too long\x1b") }})
	if want := `warder.yaml:1:92: authorizationServer.clients.a.secret: too long\x1b`; problems.Error() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
}
