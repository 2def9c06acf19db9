package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"

	"github.com/warder-gateway/warder/internal/exchange"
)

// An API key is wk_PREFIX_SECRETCHECK in base62: a prefix to know it by, a
// secret of 256 bits, and the CRC-32 (IEEE) of all that precedes the check,
// by which a cut or altered copy is told from a wrong one.
const (
	lead      = "wk_"
	prefixLen = 8
	secretLen = 43 // 62^43 > 2^256
	checkLen  = 6  // 62^6 > 2^32

	secretAt = len(lead) + prefixLen + 1
	checkAt  = secretAt + secretLen

	// Length is the number of bytes of every key.
	Length = checkAt + checkLen
)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Generate returns a new key. It is shown once, to whom it is for; what is
// kept is its Hash.
func Generate() string {
	key := make([]byte, 0, Length)
	key = append(key, lead...)
	key = appendRandom(key, prefixLen)
	key = append(key, '_')
	key = appendRandom(key, secretLen)
	check := checkOf(key)
	return string(append(key, check[:]...))
}

// appendRandom appends n random digits, each as likely as any other: bytes
// from the last, incomplete run of 62 are thrown away.
func appendRandom(b []byte, n int) []byte {
	var random [64]byte
	for {
		rand.Read(random[:]) // never fails: the program ends when the system has no randomness
		for _, r := range random {
			if n == 0 {
				return b
			}
			if int(r) < 256/len(digits)*len(digits) {
				b = append(b, digits[int(r)%len(digits)])
				n--
			}
		}
	}
}

// WellFormed reports whether key has the form of a key and its check is right.
func WellFormed(key []byte) bool {
	if len(key) != Length || string(key[:len(lead)]) != lead || key[secretAt-1] != '_' {
		return false
	}
	for i := len(lead); i < len(key); i++ {
		if c := key[i]; i != secretAt-1 && !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
			return false
		}
	}
	return checkOf(key[:checkAt]) == [checkLen]byte(key[checkAt:])
}

func checkOf(key []byte) (check [checkLen]byte) {
	sum := crc32.ChecksumIEEE(key)
	for i := len(check) - 1; i >= 0; i-- {
		check[i] = digits[sum%uint32(len(digits))]
		sum /= uint32(len(digits))
	}
	return check
}

// Prefix returns the part of a well-formed key that may be logged:
// wk_PREFIX.
func Prefix(key string) string { return key[:secretAt-1] }

// Ref returns what a well-formed key is found by.
func Ref(key []byte) exchange.KeyRef {
	return exchange.KeyRef{ID: [prefixLen]byte(key[len(lead):]), Digest: sha256.Sum256(key)}
}

// Hash returns the form in which a key is kept: sha256: and the digest of the
// whole key in lower-case hexadecimal. A key holds 256 random bits, so that a
// fast hash is enough.
func Hash(key string) string {
	digest := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(digest[:])
}
