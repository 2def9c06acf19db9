package password_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/warder-gateway/warder/internal/password"
)

const salt, key = "c29tZXNhbHRzb21lc2FsdA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestWhatNewMakesMatchesThatPasswordOnly(t *testing.T) {
	t.Parallel()
	text := password.New([]byte("correct horse"))
	h, err := password.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Matches([]byte("correct horse")) || h.Matches([]byte("correct horsf")) || h.Matches(nil) {
		t.Error("it matches another password, or not its own")
	}
	if again := password.New([]byte("correct horse")); again == text {
		t.Error("two hashes of one password are equal")
	}
	standIn := h.StandIn()
	if standIn.Matches([]byte("correct horse")) || standIn.ID() == h.ID() {
		t.Error("a stand-in is the hash it stands in for")
	}
	var zero password.Hash
	if zero.Matches(nil) || zero.Matches([]byte("correct horse")) {
		t.Error("the zero Hash matches")
	}
}

// The reference implementation's own vector (phc-winner-argon2, test.c), with
// a memory that is enough: made by it, not by us.
func TestAHashOfAnotherProgramMatches(t *testing.T) {
	t.Parallel()
	const text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h, err := password.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Matches([]byte("password")) {
		t.Error("it does not match")
	}
}

func TestPHCStringsAreReadStrictly(t *testing.T) {
	t.Parallel()
	phc := func(params string) string { return "$argon2id$v=19$" + params + "$" + salt + "$" + key }
	b64 := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	for what, text := range map[string]string{
		"the default":                  phc("m=19456,t=2,p=1"),
		"OWASP's one pass":             phc("m=47104,t=1,p=1"),
		"OWASP's least memory":         phc("m=7168,t=5,p=1"),
		"the RFC's second choice":      phc("m=65536,t=3,p=4"),
		"a salt of 8 and a key of 16":  "$argon2id$v=19$m=19456,t=2,p=1$" + b64(8) + "$" + b64(16),
		"a salt of 64 and a key of 64": "$argon2id$v=19$m=19456,t=2,p=1$" + b64(64) + "$" + b64(64),
	} {
		if _, err := password.Parse(text); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, c := range map[string]struct{ text, says string }{
		"nothing":                {"", "is kept as an Argon2id hash"},
		"a password":             {"hunter2hunter2", "is kept as an Argon2id hash"},
		"argon2i":                {"$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key, "another kind of Argon2"},
		"bcrypt":                 {"$2b$12$" + salt, "is kept as an Argon2id hash"},
		"bcrypt of five parts":   {"$2b$12$a$b$c", "is kept as an Argon2id hash"},
		"an old version":         {"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key, "another version"},
		"no version":             {"$argon2id$m=19456,t=2,p=1$" + salt + "$" + key, "is kept as"},
		"another order":          {phc("t=2,m=19456,p=1"), "is kept as"},
		"one more parameter":     {phc("m=19456,t=2,p=1,data=x"), "is kept as"},
		"a leading zero":         {phc("m=019456,t=2,p=1"), "is kept as"},
		"a sign":                 {phc("m=+19456,t=2,p=1"), "is kept as"},
		"a space":                {phc("m=19456, t=2,p=1"), "is kept as"},
		"more than 32 bits":      {phc("m=4294986752,t=2,p=1"), "is kept as"},
		"no pass":                {phc("m=19456,t=0,p=1"), "is kept as"},
		"no thread":              {phc("m=19456,t=2,p=0"), "is kept as"},
		"too little memory":      {phc("m=7167,t=5,p=1"), "too weak"},
		"too little work":        {phc("m=17919,t=2,p=1"), "too weak"},
		"too much memory":        {phc("m=65537,t=2,p=1"), "too costly"},
		"too many passes":        {phc("m=7168,t=17,p=1"), "too costly"},
		"too much work":          {phc("m=65536,t=4,p=1"), "too costly"},
		"work past 32 bits":      {phc("m=65536,t=65537,p=1"), "too costly"},
		"too many threads":       {phc("m=19456,t=2,p=5"), "too costly"},
		"threads past 8 bits":    {phc("m=19456,t=2,p=257"), "too costly"},
		"padding":                {"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "==$" + key, "the salt is not base64"},
		"loose last bits":        {"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdB$" + key, "the salt is not base64"},
		"a line end in the salt": {"$argon2id$v=19$m=19456,t=2,p=1$c29t\nZXNhbHRzb21lc2FsdA$" + key, "the salt is not base64"},
		"a short salt":           {"$argon2id$v=19$m=19456,t=2,p=1$" + b64(7) + "$" + key, "the salt has 7 bytes"},
		"a short hash":           {"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + b64(15), "the hash itself has 15 bytes"},
		"a long hash":            {"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + b64(65), "the hash itself has 65 bytes"},
		"something behind it":    {phc("m=19456,t=2,p=1") + "$x", "is kept as"},
		"very long":              {phc("m=19456,t=2,p=1") + strings.Repeat("A", 256), "is kept as"},
	} {
		_, err := password.Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s is repeated: %v", what, err)
		}
	}
}

func TestPasswordsArePrepared(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ in, out string }{
		"ASCII":            {"p: \"~", "p: \"~"},
		"composed":         {"pässwort", "pässwort"},
		"decomposed":       {"pa\u0308sswort", "pässwort"},
		"a wide space":     {"a\u3000b", "a b"},
		"case stays":       {"ÄPfel", "ÄPfel"},
		"as long as it is": {strings.Repeat("x", password.MaxBytes), strings.Repeat("x", password.MaxBytes)},
	} {
		if got, err := password.Prepare([]byte(c.in)); err != nil || string(got) != c.out {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for what, c := range map[string]struct {
		in  string
		err error
	}{
		"empty":                   {"", password.ErrEmpty},
		"a byte too long":         {strings.Repeat("x", password.MaxBytes+1), password.ErrLong},
		"a NUL":                   {"pass\x00word", password.ErrControl},
		"a tab":                   {"pass\tword", password.ErrControl},
		"DEL":                     {"pass\x7fword", password.ErrControl},
		"a control of C1":         {"pass\u0085word", password.ErrControl},
		"bytes that are no UTF-8": {"pass\xffword", password.ErrUTF8},
	} {
		if got, err := password.Prepare([]byte(c.in)); err != c.err {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}

// Whatever is read is within the bounds, and is read as our library writes it.
func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key)
	f.Add("$argon2id$v=19$m=7168,t=5,p=4$AAAAAAAAAAA$" + key)
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := password.Parse(text); err != nil {
			return
		}
		var m, passes, p uint64
		var rest string
		if n, err := fmt.Sscanf(text, "$argon2id$v=19$m=%d,t=%d,p=%d$%s", &m, &passes, &p, &rest); n != 4 || err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if m < 7168 || m > 65536 || passes < 1 || passes > 16 || p < 1 || p > 4 || m*passes < 35840 || m*passes > 196608 {
			t.Fatalf("%q is out of bounds", text)
		}
		s, k, _ := strings.Cut(rest, "$")
		a, err1 := base64.RawStdEncoding.Strict().DecodeString(s)
		b, err2 := base64.RawStdEncoding.Strict().DecodeString(k)
		if err1 != nil || err2 != nil || base64.RawStdEncoding.EncodeToString(a) != s || base64.RawStdEncoding.EncodeToString(b) != k {
			t.Fatalf("%q has another spelling", text)
		}
	})
}

func FuzzPrepare(f *testing.F) {
	f.Add([]byte("pa\u0308ss wort"))
	f.Add([]byte("\u3000"))
	f.Fuzz(func(t *testing.T, p []byte) {
		once, err := password.Prepare(bytes.Clone(p))
		if err != nil {
			return
		}
		if len(once) == 0 {
			t.Fatalf("%q became empty", p)
		}
		twice, err := password.Prepare(bytes.Clone(once))
		if len(once) <= password.MaxBytes && (err != nil || !bytes.Equal(once, twice)) {
			t.Fatalf("%q became %q, then %q, %v", p, once, twice, err)
		}
	})
}

func BenchmarkMatches(b *testing.B) {
	h, err := password.Parse(password.New([]byte("correct horse")))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Matches([]byte("correct horse"))
	}
}

// Property: what our library works out is what is read back.
func TestHashesOfEveryCostMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m, t uint32
		p    uint8
	}{{7168, 5, 1}, {12288, 3, 2}, {47104, 1, 4}} {
		s := make([]byte, 16)
		rand.Read(s)
		k := argon2.IDKey([]byte("correct horse"), s, c.t, c.m, c.p, 32)
		enc := base64.RawStdEncoding.EncodeToString
		h, err := password.Parse(fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", c.m, c.t, c.p, enc(s), enc(k)))
		if err != nil || !h.Matches([]byte("correct horse")) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
