package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/fault"
)

func TestTheCatalogueIsWhole(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	for _, c := range fault.Codes() {
		s := c.String()
		if !name.MatchString(s) || seen[s] {
			t.Errorf("%q is no name, or occurs twice", s)
		}
		seen[s] = true
		if c.Status() < 400 || c.Status() > 599 {
			t.Errorf("%s has status %d", s, c.Status())
		}
		if c.Mend() == "" || strings.Count(c.Mend(), "{") != strings.Count(c.Mend(), "}") {
			t.Errorf("%s has no mend: %q", s, c.Mend())
		}
		if p := c.Public(); p.Public() != p {
			t.Errorf("%s is shown as %s, which is shown as another", s, p)
		}
		// The refusal page writes the sentence into JSON as it is.
		if b, _ := json.Marshal(c.Detail()); c.Detail() == "" || string(b) != `"`+c.Detail()+`"` || strings.ContainsAny(c.Detail(), "<>&{}") {
			t.Errorf("%s: the caller's sentence is empty or needs escaping: %q", s, c.Detail())
		}
	}
}

func TestWhatNobodyClassifiedStaysPrivate(t *testing.T) {
	t.Parallel()
	var zero fault.Code
	if zero != fault.InternalError || zero.Status() != 500 {
		t.Errorf("the zero code is %v", zero)
	}
	for _, err := range []error{io.EOF, fmt.Errorf("dial 10.0.0.1: %w", io.EOF), nil} {
		if fault.Of(err) != fault.InternalError {
			t.Errorf("%v has code %v", err, fault.Of(err))
		}
	}
	if c := fault.Code(200); c.Status() != 500 || c.String() != "internal_error" {
		t.Errorf("an unknown code is %v", c)
	}
	if fault.None.Status() != 0 || fault.None.String() != "" {
		t.Error("None is no refusal")
	}
}

func TestAnnotatingCopies(t *testing.T) {
	t.Parallel()
	shared := fault.New(fault.TokenExpired, "too old")
	err := fmt.Errorf("jwt: %w", shared.Because(io.EOF))
	if shared.Cause != nil {
		t.Error("the shared fault was changed")
	}
	if fault.Of(err) != fault.TokenExpired || !errors.Is(err, io.EOF) {
		t.Errorf("%v lost its code or its cause", err)
	}
	if got := fault.Reason(err); got != "too old: EOF" {
		t.Errorf("reason %q", got)
	}
	if got := fault.Reason(io.EOF); got != "EOF" {
		t.Errorf("reason %q", got)
	}
}
