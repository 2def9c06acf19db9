package apikey

import (
	"bytes"
	"math"
)

// LeastStrength is how many bits of chance a key has to hold at least.
const LeastStrength = 128

const (
	stretch  = 6   // characters from which a run or a repetition counts as one
	sentence = 12  // letters of one case in a row that are taken for words
	ofStart  = 4   // characters from which what all keys begin or end with counts for nothing
	wordBits = 1.5 // of each letter of a word: about what English holds
)

// Strength estimates, in bits, how hard a key is to guess for somebody who has
// seen others like it. It says too little rather than too much, and cannot see
// how the key was made: 32 digits of a counter that was hashed look random.
//
// Each character counts as one of an alphabet: of the kinds of characters in
// the key (digits 10, small and capital letters 26 each, 16 in all where there
// is nothing but hexadecimal digits, others 20), but of no more than twice as
// many as there are different ones. Of six and more characters in a run
// (aaaaaa, 123456, fedcba) and of six and more that occurred before in the key,
// only two count. Letters are taken for words, 1.5 bits each, where twelve of
// one case follow one another, and everywhere if they are the letters of a
// language: most characters are letters, and seven of ten of these among the
// twelve that are the most frequent in English. What the keys of one import
// have in common at their start or end counts for nothing if it is four
// characters or more: see Common.
func Strength(key []byte) float64 {
	bits, words := 0.0, 0
	each := math.Log2(float64(alphabet(key)))
	least := sentence
	if language(key) {
		least = 1
	}
	for i := 0; i < len(key); {
		n := max(run(key[i:]), repeated(key, i))
		switch {
		case n >= stretch:
			bits += 2 * each
		case word(key[i:]) >= least:
			n = word(key[i:])
			words += n
		default:
			n = 1
			bits += each
		}
		i += n
	}
	return bits + float64(words)*min(each, wordBits)
}

// Common returns how many bytes all keys have in common at their start, and how
// many at their end: parts that are no secret. Of one key nothing can be told.
func Common(keys [][]byte) (start, end int) {
	if len(keys) < 2 {
		return 0, 0
	}
	start, end = len(keys[0]), len(keys[0])
	for _, k := range keys[1:] {
		n := 0
		for n < min(start, len(k)) && k[n] == keys[0][n] {
			n++
		}
		start = n
		for n = 0; n < min(end, len(k)) && k[len(k)-1-n] == keys[0][len(keys[0])-1-n]; {
			n++
		}
		end = n
	}
	if start < ofStart {
		start = 0
	}
	if end < ofStart {
		end = 0
	}
	return start, end
}

func alphabet(key []byte) int {
	var seen [256]bool
	var digit, small, capital, other, hex bool
	hex = true
	different := 0
	for _, c := range key {
		if !seen[c] {
			seen[c] = true
			different++
		}
		switch {
		case c >= '0' && c <= '9':
			digit = true
		case c >= 'a' && c <= 'z':
			small = true
			hex = hex && c <= 'f'
		case c >= 'A' && c <= 'Z':
			capital = true
			hex = hex && c <= 'F'
		default:
			other = true
		}
	}
	n := 0
	if digit {
		n += 10
	}
	if small {
		n += 26
	}
	if capital {
		n += 26
	}
	if hex && (small || capital) {
		n = 16
	}
	if other {
		n += 20
	}
	return max(1, min(n, 2*different))
}

// language reports whether a key looks like one.
func language(key []byte) bool {
	letters, frequent := 0, 0
	for _, c := range key {
		if c |= 0x20; c >= 'a' && c <= 'z' {
			letters++
			if bytes.IndexByte([]byte("etaoinshrdlu"), c) >= 0 {
				frequent++
			}
		}
	}
	return 2*letters > len(key) && 10*frequent >= 7*letters
}

// run returns how many characters at the start are all the same, or each the
// next one up or down.
func run(s []byte) int {
	if len(s) < 2 {
		return len(s)
	}
	step := int(s[1]) - int(s[0])
	if step < -1 || step > 1 {
		return 1
	}
	n := 2
	for n < len(s) && int(s[n])-int(s[n-1]) == step {
		n++
	}
	return n
}

// repeated returns how many characters from i on occurred before it in the key.
func repeated(key []byte, i int) int {
	n := 0
	for i+n < len(key) && bytes.Contains(key[:i], key[i:i+n+1]) {
		n++
	}
	return n
}

// word returns how many letters of one case s begins with; the first may be a
// capital.
func word(s []byte) int {
	lower := func(c byte) bool { return c >= 'a' && c <= 'z' }
	upper := func(c byte) bool { return c >= 'A' && c <= 'Z' }
	n := 0
	for n < len(s) && upper(s[n]) {
		n++
	}
	if n > 1 {
		return n
	}
	for n < len(s) && lower(s[n]) {
		n++
	}
	return n
}
