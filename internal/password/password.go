// Package password reads, makes and compares password hashes: argon2id
// (RFC 9106) in PHC strings. A hash is costly on purpose; who may have one
// worked out, and when, is for package guessing to say.
package password

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"
)

// Bounds of what is accepted. Below the least a stolen hash is guessed too
// fast: 7 MiB, and as much memory times passes as the weakest of OWASP's
// equal choices. Above the most a login costs us too much: 64 MiB, three
// times over.
const (
	leastMemory = 7 << 10  // KiB
	mostMemory  = 64 << 10 // KiB
	leastWork   = 5 * leastMemory
	mostWork    = 3 * mostMemory // memory times passes
	mostPasses  = 16
	mostThreads = 4
	leastSalt   = 8
	leastKey    = 16
	mostBytes   = 64  // of salt and of key
	mostText    = 256 // of the whole string

	// MaxBytes is the length of the longest password.
	MaxBytes = 256
)

// What New makes: the first of OWASP's choices, 19 MiB, two passes.
const (
	newMemory  = 19456 // KiB
	newPasses  = 2
	newThreads = 1
	newSalt    = 16
	newKey     = 32
)

// Hash is a stored password. It is immutable and safe for concurrent use. The
// zero Hash matches nothing.
type Hash struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
	id             [sha256.Size]byte
}

// Parse reads a PHC string: $argon2id$v=19$m=…,t=…,p=…$SALT$HASH, in that
// order, numbers in their shortest form, base64 without padding. Its errors
// never repeat the text: what stands in the wrong place may be the password.
func Parse(text string) (Hash, error) {
	if text == "" || len(text) > mostText {
		return Hash{}, errForm
	}
	part := strings.Split(text, "$")
	if len(part) != 6 || part[0] != "" {
		return Hash{}, errForm
	}
	if part[1] != "argon2id" {
		if strings.HasPrefix(part[1], "argon2") {
			return Hash{}, errors.New("this is a hash of another kind of Argon2; only argon2id is accepted")
		}
		return Hash{}, errForm
	}
	if part[2] != "v=19" {
		return Hash{}, errors.New("the hash has another version than v=19")
	}
	number := strings.Split(part[3], ",")
	if len(number) != 3 {
		return Hash{}, errForm
	}
	var n [3]uint32
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(number[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(v, 10) != digits {
			return Hash{}, errForm
		}
		n[i] = uint32(v)
	}
	h := Hash{memory: n[0], passes: n[1], id: sha256.Sum256([]byte(text))}
	work := uint64(n[0]) * uint64(n[1])
	switch {
	case n[1] == 0 || n[2] == 0:
		return Hash{}, errForm
	case n[0] < leastMemory || work < leastWork:
		return Hash{}, fmt.Errorf("m=%d,t=%d is too weak: at least m=%d, and m times t at least %d; `warder password hash` makes a good one", n[0], n[1], leastMemory, leastWork)
	case n[0] > mostMemory || n[1] > mostPasses || work > mostWork || n[2] > mostThreads:
		return Hash{}, fmt.Errorf("m=%d,t=%d,p=%d is too costly to work out at every login: at most m=%d, t=%d, p=%d, and m times t at most %d", n[0], n[1], n[2], mostMemory, mostPasses, mostThreads, mostWork)
	}
	h.threads = uint8(n[2])
	var err error
	if h.salt, err = decode(part[4], leastSalt); err != nil {
		return Hash{}, fmt.Errorf("the salt %w", err)
	}
	if h.key, err = decode(part[5], leastKey); err != nil {
		return Hash{}, fmt.Errorf("the hash itself %w", err)
	}
	return h, nil
}

var errForm = errors.New("a password is kept as an Argon2id hash, $argon2id$v=19$m=…,t=…,p=…$SALT$HASH, as `warder password hash` prints it")

// base64NoPad reads one spelling of every value.
var base64NoPad = base64.RawStdEncoding.Strict()

func decode(text string, least int) ([]byte, error) {
	b, err := base64NoPad.DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errors.New("is not base64 without padding")
	}
	if len(b) < least || len(b) > mostBytes {
		return nil, fmt.Errorf("has %d bytes, not %d to %d", len(b), least, mostBytes)
	}
	return b, nil
}

// New returns the PHC string of a password that Prepare returned.
func New(password []byte) string {
	salt := make([]byte, newSalt)
	rand.Read(salt) // never fails
	key := argon2.IDKey(password, salt, newPasses, newMemory, newThreads, newKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, newMemory, newPasses, newThreads,
		base64NoPad.EncodeToString(salt), base64NoPad.EncodeToString(key))
}

// Matches works the hash of a password out, which takes tens of milliseconds
// and tens of MiB, and compares it in constant time.
func (h *Hash) Matches(password []byte) bool {
	if h.memory == 0 {
		return false
	}
	got := argon2.IDKey(password, h.salt, h.passes, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(got, h.key) == 1
}

// ID is a digest of the string that h was read from: another for every change.
func (h *Hash) ID() [sha256.Size]byte { return h.id }

// StandIn returns a hash that costs as much as h and that no password is known
// for: for accounts that do not exist. Of the zero Hash it costs what New makes.
func (h *Hash) StandIn() Hash {
	s := Hash{memory: newMemory, passes: newPasses, threads: newThreads, salt: make([]byte, newSalt), key: make([]byte, newKey)}
	if h.memory != 0 {
		s = Hash{memory: h.memory, passes: h.passes, threads: h.threads, salt: h.salt, key: make([]byte, len(h.key))}
	}
	return s
}

// Why a password is refused before any hash.
var (
	ErrEmpty   = errors.New("the password is empty")
	ErrLong    = fmt.Errorf("the password is longer than %d bytes", MaxBytes)
	ErrUTF8    = errors.New("the password is not valid UTF-8")
	ErrControl = errors.New("the password holds a control character, or one that no password may hold")
)

// Prepare brings a password into the one form that is hashed: OpaqueString of
// RFC 8265, which composes accents (NFC) and makes every space an ASCII one.
// What is ASCII comes back as it is.
func Prepare(password []byte) ([]byte, error) {
	switch {
	case len(password) == 0:
		return nil, ErrEmpty
	case len(password) > MaxBytes:
		return nil, ErrLong
	}
	ascii := true
	for _, c := range password {
		if c < ' ' || c == 0x7f {
			return nil, ErrControl
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return password, nil
	}
	if !utf8.Valid(password) {
		return nil, ErrUTF8
	}
	prepared, err := precis.OpaqueString.Bytes(password)
	switch {
	case err != nil:
		return nil, ErrControl
	case len(prepared) == 0:
		return nil, ErrEmpty
	}
	return prepared, nil
}
