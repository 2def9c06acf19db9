package scalar

import (
	"errors"
	"fmt"
	"time"
)

// Date is a day, written 2027-01-31, in the years 1970 to 9999. The zero Date
// is no day.
type Date struct {
	year  int
	month time.Month
	day   int
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Date) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.DateOnly, string(text))
	if err != nil || t.Year() < 1970 {
		return bad(text, "date such as 2027-01-31", "it must be a day of the calendar, from 1970 on")
	}
	d.year, d.month, d.day = t.Date()
	return nil
}

// MarshalText implements encoding.TextMarshaler. The zero Date is an error.
func (d Date) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, errors.New("no date")
	}
	return []byte(d.String()), nil
}

// String returns d as it is written; empty for no day.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.year, d.month, d.day)
}

// IsZero reports whether d is no day.
func (d Date) IsZero() bool { return d == Date{} }

// End returns the moment the day is over: 24:00 UTC. The end of no day is the
// zero time.
func (d Date) End() time.Time {
	if d.IsZero() {
		return time.Time{}
	}
	return time.Date(d.year, d.month, d.day+1, 0, 0, 0, 0, time.UTC)
}
