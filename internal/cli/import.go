package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/warder-gateway/warder/internal/app"
	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/policy/apikey"
	"github.com/warder-gateway/warder/internal/store"
)

type keyImportCmd struct {
	Consumer string `required:"" help:"Consumer of the store to give the keys to." placeholder:"NAME"`
	File     string `default:"-" help:"File with one key a line, and behind it, if it ends, when: 90d or 2027-01-31. Default: standard input. Never an argument, which other users of the machine can see." placeholder:"FILE"`
	Weak     bool   `help:"Import keys that can be guessed, too. warder check warns of them from then on."`
	storeFlags
	outputFlag
}

// importedOut is one key that was imported.
type importedOut struct {
	Line int    `json:"line"`
	Hash string `json:"hash"`
	keyInfo
}

// maxImportLine bounds a line of an import, in bytes: a key and a time.
const maxImportLine = directory.MaxImported + 64

func (c *keyImportCmd) Run(e *env) error {
	in := e.in
	name := "standard input"
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in, name = f, c.File
	}
	now := time.Now()
	keys, lines, err := readImport(in, name, c.Weak, now)
	if err != nil {
		return err
	}
	return c.with(e, false, func(ctx context.Context, s *store.Store) error {
		if _, err := directory.GetConsumer(ctx, s, c.Consumer); err != nil {
			return err
		}
		sealer, err := app.ImportSealer(c.Config, c.State)
		if err != nil {
			return err
		}
		made, clashes, err := directory.ImportKeys(ctx, s, sealer, c.Consumer, keys, now)
		if err != nil {
			return err
		}
		var all complaints
		for _, one := range clashes {
			all.add(lines[one.At], "%s", one.Text)
		}
		if len(all) > 0 {
			return all.in(name)
		}
		return c.print(e, made, lines)
	})
}

func (c *keyImportCmd) print(e *env, made []directory.StoredKey, lines []int) error {
	out := make([]importedOut, len(made))
	weak := 0
	for i, k := range made {
		out[i] = importedOut{lines[i], "sha256:" + hex.EncodeToString(k.Ref.Digest[:]), infoOf(k)}
		if k.Ref.Imported {
			out[i].Hash = "hmac:" + hex.EncodeToString(k.Ref.Digest[:])
		}
		if k.Weak {
			weak++
		}
	}
	if c.Output == "json" {
		return e.json(out)
	}
	rows := [][]string{{"LINE", "KEY", "EXPIRES", "GOOD"}}
	for _, k := range out {
		rows = append(rows, []string{fmt.Sprint(k.Line), k.ID, day(k.Expires), k.where})
	}
	if err := e.table(rows); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%s imported for consumer %s; good on every gateway of this store within a second\n", count(len(made), "key"), c.Consumer)
	if weak > 0 {
		fmt.Fprintf(e.out, "%d of them can be guessed: replace them soon\n", weak)
	}
	return nil
}

// complaints are what is wrong with the lines of an import.
type complaints []complaint

type complaint struct {
	line int
	text string
}

func (c *complaints) add(line int, format string, args ...any) {
	*c = append(*c, complaint{line, fmt.Sprintf(format, args...)})
}

// in makes one error of all, by their lines.
func (c complaints) in(name string) error {
	const most = 20
	slices.SortStableFunc(c, func(a, b complaint) int { return a.line - b.line })
	var all []error
	for _, one := range c[:min(len(c), most)] {
		all = append(all, fmt.Errorf("%s:%d: %s", name, one.line, one.text))
	}
	if more := len(c) - most; more > 0 {
		all = append(all, fmt.Errorf("and %d more", more))
	}
	return errors.Join(append(all, errors.New("nothing was imported"))...)
}

// readImport reads the lines of an import, and which they are. Errors name
// lines, and repeat nothing that stands in them.
func readImport(in io.Reader, name string, weak bool, now time.Time) (keys []directory.ToImport, lines []int, err error) {
	var wrong complaints
	first := map[string]int{}
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, maxImportLine)
	line := 0
	for scan.Scan() {
		line++
		words := bytes.Fields(scan.Bytes())
		if len(words) == 0 {
			continue
		}
		if len(keys) == directory.MostImported {
			return nil, nil, fmt.Errorf("%s has more than %d keys; import them in parts", name, directory.MostImported)
		}
		key := directory.ToImport{Key: bytes.Clone(words[0])}
		if why := unfit(key.Key); why != "" {
			wrong.add(line, "%s", why)
			continue
		}
		if len(words) > 2 {
			wrong.add(line, "expected a key, and when it ends, or nothing behind it")
			continue
		}
		if len(words) == 2 {
			var ends lifetime
			if ends.UnmarshalText(words[1]) != nil {
				wrong.add(line, "behind the key stands no time such as 90d, and no day such as 2027-01-31")
				continue
			}
			if key.Expires = ends.from(now); !key.Expires.After(now) {
				wrong.add(line, "the key ended already")
				continue
			}
		}
		if before := first[string(key.Key)]; before > 0 {
			wrong.add(line, "the key of line %d once more", before)
			continue
		}
		first[string(key.Key)] = line
		if apikey.WellFormed(key.Key) {
			key.Ours = apikey.Ref(key.Key)
		}
		keys, lines = append(keys, key), append(lines, line)
	}
	if err := scan.Err(); errors.Is(err, bufio.ErrTooLong) {
		wrong.add(line+1, "longer than %d bytes", maxImportLine)
	} else if err != nil {
		return nil, nil, err
	}
	for i, bits := range strengths(keys) {
		if keys[i].Weak = bits < apikey.LeastStrength; keys[i].Weak && !weak {
			wrong.add(lines[i], "this key can be guessed: about %d bits of chance, and %d are expected; replace it, or import it with --weak", int(bits), apikey.LeastStrength)
		}
	}
	if len(wrong) > 0 {
		return nil, nil, wrong.in(name)
	}
	if len(keys) == 0 {
		return nil, nil, usageError(name + " holds no key; one a line is expected")
	}
	return keys, lines, nil
}

// strengths returns the strength of each key, in bits.
func strengths(keys []directory.ToImport) []float64 {
	var theirs [][]byte
	for i := range keys {
		if !apikey.WellFormed(keys[i].Key) {
			theirs = append(theirs, keys[i].Key)
		}
	}
	start, end := apikey.Common(theirs)
	bits := make([]float64, len(keys))
	for i := range keys {
		if key := keys[i].Key; apikey.WellFormed(key) {
			bits[i] = 2 * apikey.LeastStrength
		} else {
			bits[i] = apikey.Strength(key[min(start, len(key)):max(min(start, len(key)), len(key)-end)])
		}
	}
	return bits
}

// unfit says why something cannot be a key; "" if it can.
func unfit(key []byte) string {
	if len(key) > directory.MaxImported {
		return fmt.Sprintf("the key is longer than %d bytes", directory.MaxImported)
	}
	for _, c := range key {
		if c <= ' ' || c >= 0x7f {
			return "a key is made of visible ASCII characters"
		}
	}
	if strings.HasPrefix(string(key), "wk_") && !apikey.WellFormed(key) {
		return "this looks like a key of Warder's, but was cut or altered"
	}
	return ""
}
