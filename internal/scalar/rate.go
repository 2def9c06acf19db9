package scalar

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// MaxCalls is the most calls a Rate can allow per unit.
const MaxCalls = 1_000_000_000

// Rate is a number of calls per unit of time, written 100/min. Units are s,
// min, hour, day and month, which is 30 days. The zero Rate allows nothing.
type Rate struct {
	calls int64
	unit  string
}

var rateUnits = [...]struct {
	name   string
	period time.Duration
}{
	{"s", time.Second}, {"min", time.Minute}, {"hour", time.Hour},
	{"day", 24 * time.Hour}, {"month", 30 * 24 * time.Hour},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	v, err := readRate(string(text))
	if err != nil {
		return bad(text, "rate such as 10/s, 100/min or 1000/day", err)
	}
	*r = v
	return nil
}

func readRate(s string) (Rate, error) {
	n, rest, err := digits(s)
	if err != nil {
		return Rate{}, err
	}
	if n < 1 || n > MaxCalls {
		return Rate{}, errors.New("calls are 1 to 1000000000")
	}
	if unit, ok := strings.CutPrefix(rest, "/"); ok {
		for _, u := range rateUnits {
			if u.name == unit {
				return Rate{n, u.name}, nil
			}
		}
	}
	return Rate{}, errors.New("after the number stand / and s, min, hour, day or month")
}

// MarshalText implements encoding.TextMarshaler. The zero Rate is an error.
func (r Rate) MarshalText() ([]byte, error) {
	if r.IsZero() {
		return nil, errors.New("no rate")
	}
	return []byte(r.String()), nil
}

// String returns r as it is written; empty for the zero Rate.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	return strconv.FormatInt(r.calls, 10) + "/" + r.unit
}

// IsZero reports whether r allows nothing.
func (r Rate) IsZero() bool { return r == Rate{} }

// Calls returns how many calls the rate allows per Period, 1 to MaxCalls.
func (r Rate) Calls() int64 { return r.calls }

// Period returns the time the calls are spread over.
func (r Rate) Period() time.Duration {
	for _, u := range rateUnits {
		if u.name == r.unit {
			return u.period
		}
	}
	return 0
}
