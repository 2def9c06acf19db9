package scalar

import (
	"errors"
	"strconv"
)

// MaxSize is the largest Size that can be written: 1 PiB.
const MaxSize Size = 1 << 50

// Size is a number of bytes from 0 to MaxSize, written plainly (512) or in
// KiB, MiB or GiB.
type Size int64

var sizeUnits = [...]struct {
	name string
	size Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	v, err := readSize(string(text))
	if err != nil {
		return bad(text, "size such as 512, 16KiB, 1MiB or 2GiB", err)
	}
	*s = v
	return nil
}

func readSize(s string) (Size, error) {
	n, unit, err := digits(s)
	if err != nil {
		return 0, err
	}
	for _, u := range sizeUnits {
		if u.name != unit {
			continue
		}
		if Size(n) > MaxSize/u.size {
			return 0, errors.New("it is larger than 1048576GiB")
		}
		return Size(n) * u.size, nil
	}
	return 0, errors.New("units are KiB, MiB and GiB")
}

// MarshalText implements encoding.TextMarshaler. Sizes that UnmarshalText
// cannot give are an error.
func (s Size) MarshalText() ([]byte, error) {
	if s < 0 || s > MaxSize {
		return nil, errors.New("not a size between 0 and 1048576GiB: " + strconv.FormatInt(int64(s), 10))
	}
	return []byte(s.String()), nil
}

// String returns s as it is written, in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return "0"
}
