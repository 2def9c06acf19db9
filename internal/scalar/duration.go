package scalar

import (
	"errors"
	"math"
	"strconv"
	"time"
)

// MaxDuration is the longest Duration that can be written.
const MaxDuration = Duration(36500 * 24 * time.Hour)

// Duration is a length of time from 0 to MaxDuration in whole milliseconds,
// written as 500ms, 5s, 10m, 1h30m or 30d, larger units first.
type Duration time.Duration

var durationUnits = [...]struct {
	name string
	size Duration
}{
	{"d", Duration(24 * time.Hour)},
	{"h", Duration(time.Hour)},
	{"m", Duration(time.Minute)},
	{"s", Duration(time.Second)},
	{"ms", Duration(time.Millisecond)},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := readDuration(string(text))
	if err != nil {
		return bad(text, "duration such as 500ms, 5s, 10m, 12h or 30d", err)
	}
	*d = v
	return nil
}

func readDuration(s string) (Duration, error) {
	var sum Duration
	for next := 0; ; {
		n, rest, err := digits(s)
		if err != nil {
			return 0, err
		}
		end := 0
		for end < len(rest) && rest[end] >= 'a' && rest[end] <= 'z' {
			end++
		}
		at := next
		for at < len(durationUnits) && durationUnits[at].name != rest[:end] {
			at++
		}
		if at == len(durationUnits) {
			return 0, errors.New("units are d, h, m, s and ms, larger ones first, each once")
		}
		unit := durationUnits[at].size
		if Duration(n) > (MaxDuration-sum)/unit {
			return 0, errors.New("it is longer than 36500d")
		}
		sum += Duration(n) * unit
		if s = rest[end:]; s == "" {
			return sum, nil
		}
		next = at + 1
	}
}

// MarshalText implements encoding.TextMarshaler. Durations that UnmarshalText
// cannot give are an error.
func (d Duration) MarshalText() ([]byte, error) {
	if d < 0 || d > MaxDuration || d%Duration(time.Millisecond) != 0 {
		return nil, errors.New("not a duration of whole milliseconds between 0 and 36500d: " + time.Duration(d).String())
	}
	if d == 0 {
		return []byte("0s"), nil
	}
	var out []byte
	for _, u := range durationUnits {
		if d >= u.size {
			out = append(strconv.AppendInt(out, int64(d/u.size), 10), u.name...)
			d %= u.size
		}
	}
	return out, nil
}

// String returns d as it is written.
func (d Duration) String() string {
	text, err := d.MarshalText()
	if err != nil {
		return time.Duration(d).String()
	}
	return string(text)
}

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Timeout is a Duration above zero, or Unlimited. The zero Timeout is one that
// was not written: it never means "no limit".
type Timeout Duration

// Unlimited is the Timeout written "unlimited". As a number it is the longest
// there is, so that a comparison needs no special case.
const Unlimited Timeout = math.MaxInt64

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Timeout) UnmarshalText(text []byte) error {
	if string(text) == "unlimited" {
		*t = Unlimited
		return nil
	}
	d, err := readDuration(string(text))
	if err == nil && d == 0 {
		err = errors.New("zero would let nothing through; write unlimited if that is meant")
	}
	if err != nil {
		return bad(text, "duration such as 5s, or unlimited", err)
	}
	*t = Timeout(d)
	return nil
}

// MarshalText implements encoding.TextMarshaler. A Timeout that was not
// written is an error.
func (t Timeout) MarshalText() ([]byte, error) {
	switch t {
	case 0:
		return nil, errors.New("a timeout that was not written has no text")
	case Unlimited:
		return []byte("unlimited"), nil
	}
	return Duration(t).MarshalText()
}

// String returns t as it is written; empty if it was not.
func (t Timeout) String() string {
	switch t {
	case 0:
		return ""
	case Unlimited:
		return "unlimited"
	}
	return Duration(t).String()
}

// Std returns t as the standard library's type; Unlimited is its longest.
func (t Timeout) Std() time.Duration { return time.Duration(t) }
