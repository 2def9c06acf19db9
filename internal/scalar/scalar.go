// Package scalar holds the values that an operator writes as one word: a
// duration, a size, a date, a rate. Each type reads itself from text and
// prints back to text that reads the same.
//
// Reading is strict: one spelling of units, no signs, no fractions, no spaces,
// and every value is bounded so that no later arithmetic can overflow.
package scalar

import (
	"fmt"
	"strconv"
)

// List is one value or several: a document may write a single value where a
// sequence of one is meant.
type List[T any] []T

// OneOrMany marks the type for decoders.
func (List[T]) OneOrMany() {}

// digits reads a decimal number without sign or leading zero from the front of
// s and returns what follows it.
func digits(s string) (n int64, rest string, err error) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	switch {
	case i == 0:
		return 0, "", fmt.Errorf("it must begin with a whole number")
	case i > 1 && s[0] == '0':
		return 0, "", fmt.Errorf("a number does not begin with 0")
	case i > 18: // what fits an int64 whatever the digits are
		return 0, "", fmt.Errorf("the number is too large")
	}
	n, err = strconv.ParseInt(s[:i], 10, 64)
	return n, s[i:], err
}

// bad says what was read and what was wrong with it; the text is quoted and
// cut, because it comes from outside.
func bad(text []byte, what string, why any) error {
	const most = 40
	if len(text) > most {
		text = append(text[:most:most], "..."...)
	}
	return fmt.Errorf("%q is not a %s: %v", text, what, why)
}
