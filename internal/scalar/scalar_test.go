package scalar_test

import (
	"encoding"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/scalar"
)

// value is what all scalars are.
type value interface {
	encoding.TextMarshaler
	String() string
}

func parse[T value](t *testing.T, text string) (T, error) {
	t.Helper()
	var v T
	err := any(&v).(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	return v, err
}

// roundTrip checks that a value prints to text that reads the same.
func roundTrip[T interface {
	comparable
	value
}](t *testing.T, text string) {
	t.Helper()
	v, err := parse[T](t, text)
	if err != nil {
		if len(err.Error()) > 400 {
			t.Errorf("the complaint about %d bytes has %d", len(text), len(err.Error()))
		}
		return
	}
	printed, err := v.MarshalText()
	if err != nil {
		t.Fatalf("%q reads but does not print: %v", text, err)
	}
	again, err := parse[T](t, string(printed))
	if err != nil || again != v || v.String() != string(printed) {
		t.Fatalf("%q reads as %v, prints as %q, reads again as %v: %v", text, v, printed, again, err)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0s": 0, "500ms": 500 * time.Millisecond, "5s": 5 * time.Second, "10m": 10 * time.Minute, "12h": 12 * time.Hour,
		"30d": 720 * time.Hour, "1h30m": 90 * time.Minute, "90m": 90 * time.Minute, "1d1h1m1s1ms": 25*time.Hour + time.Minute + time.Second + time.Millisecond,
		"36500d": 36500 * 24 * time.Hour,
	} {
		got, err := parse[scalar.Duration](t, text)
		if err != nil || got.Std() != want {
			t.Errorf("%q reads as %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "5", "s", "-5s", "+5s", "5 s", " 5s", "5s ", "1.5s", "05s", "5S", "5sec", "1s1s", "1m1h", "5s5", "unlimited", "1e3s", "36501d",
		"36500d1ms", "999999999999999999ms", "9999999999999999999s", "5us", "٥s", "5µs", "5s\x00",
	} {
		if got, err := parse[scalar.Duration](t, text); err == nil {
			t.Errorf("%q reads as %v", text, got)
		}
	}
	for _, d := range []scalar.Duration{-1, 1, scalar.MaxDuration + scalar.Duration(time.Hour)} {
		if text, err := d.MarshalText(); err == nil {
			t.Errorf("%d prints as %q", d, text)
		}
	}
}

func TestTimeoutIsNeverUnlimitedByAccident(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]scalar.Timeout{"unlimited": scalar.Unlimited, "5s": scalar.Timeout(5 * time.Second)} {
		if got, err := parse[scalar.Timeout](t, text); err != nil || got != want {
			t.Errorf("%q reads as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0s", "none", "Unlimited", "0", "-1s"} {
		if got, err := parse[scalar.Timeout](t, text); err == nil || got != 0 {
			t.Errorf("%q reads as %v", text, got)
		}
	}
	if _, err := scalar.Timeout(0).MarshalText(); err == nil {
		t.Error("a timeout that was not written prints")
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]scalar.Size{
		"0": 0, "512": 512, "16KiB": 16 << 10, "1MiB": 1 << 20, "2GiB": 2 << 30, "1048576GiB": scalar.MaxSize, "1125899906842624": scalar.MaxSize,
	} {
		if got, err := parse[scalar.Size](t, text); err != nil || got != want {
			t.Errorf("%q reads as %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1KB", "1kib", "1 MiB", "1.5MiB", "010", "0x10", "1e3", "1048577GiB", "1125899906842625", "MiB", "1MiB1KiB", "unlimited"} {
		if got, err := parse[scalar.Size](t, text); err == nil {
			t.Errorf("%q reads as %v", text, got)
		}
	}
	for size, want := range map[scalar.Size]string{0: "0", 1000: "1000", 1024: "1KiB", 1536: "1536", 1 << 40: "1024GiB"} {
		if size.String() != want {
			t.Errorf("%d prints as %q, want %q", int64(size), size, want)
		}
	}
}

func TestADateEndsAtMidnightUTC(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2027-01-31": "2027-02-01T00:00:00Z", "2027-12-31": "2028-01-01T00:00:00Z", "2028-02-29": "2028-03-01T00:00:00Z", "9999-12-31": "10000-01-01T00:00:00Z",
	} {
		got, err := parse[scalar.Date](t, text)
		if err != nil || got.End().Format(time.RFC3339) != want {
			t.Errorf("%q ends at %v, %v; want %s", text, got.End(), err, want)
		}
	}
	for _, text := range []string{"", "2027-02-29", "2027-1-31", "27-01-31", "1969-12-31", "2027-01-31T00:00:00Z", "2027/01/31", "2027-13-01", "2027-00-01", "0000-01-01", " 2027-01-31"} {
		if got, err := parse[scalar.Date](t, text); err == nil || !got.IsZero() {
			t.Errorf("%q reads as %v", text, got)
		}
	}
	if !(scalar.Date{}).End().IsZero() {
		t.Error("no day ends")
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"1/s": time.Second, "100/min": time.Minute, "5/hour": time.Hour, "7/day": 24 * time.Hour, "1000000000/month": 720 * time.Hour,
	} {
		got, err := parse[scalar.Rate](t, text)
		if err != nil || got.Period() != want || got.Calls() < 1 || got.String() != text {
			t.Errorf("%q reads as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0/s", "1", "1/", "/s", "1/m", "1/sec", "1 / s", "-1/s", "01/s", "1000000001/s", "1/s ", "1/s per ip", "1.5/s", "unlimited"} {
		if got, err := parse[scalar.Rate](t, text); err == nil || !got.IsZero() {
			t.Errorf("%q reads as %v", text, got)
		}
	}
	var none scalar.Rate
	if none.Calls() != 0 || none.Period() != 0 || none.String() != "" {
		t.Error("the zero rate allows something")
	}
}

func TestComplaintsAreShort(t *testing.T) {
	t.Parallel()
	if _, err := parse[scalar.Duration](t, strings.Repeat("9\x1b", 1000)); err == nil || len(err.Error()) > 400 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("complaint: %v", err)
	}
}

func FuzzScalars(f *testing.F) {
	for _, text := range []string{"5s", "1h30m", "30d", "unlimited", "16KiB", "2027-01-31", "100/min", "010", "36500d", "1125899906842624", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		roundTrip[scalar.Duration](t, text)
		roundTrip[scalar.Timeout](t, text)
		roundTrip[scalar.Size](t, text)
		roundTrip[scalar.Date](t, text)
		roundTrip[scalar.Rate](t, text)
	})
}
