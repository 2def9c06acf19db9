package directory_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/directory"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/pipeline"
)

var _ pipeline.Directory = (*directory.Directory)(nil)

func digest(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// key finds the key with that digest.
func key(d *directory.Directory, text string) (exchange.KeyRecord, fault.Code) {
	return d.Key(exchange.KeyRef{Digest: digest(text)}, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), true)
}

func TestConsumersAreFoundByWhatTheyShow(t *testing.T) {
	t.Parallel()
	expires := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	roles := []string{"partner"}
	d, err := directory.New([]directory.Consumer{
		{Name: "acme", Roles: roles, Keys: []directory.Key{{Digest: digest("new"), Expires: expires}, {Digest: digest("old")}},
			Clients: []directory.Client{{Issuer: "okta", ID: "0oa1"}, {Issuer: "corp", ID: "0oa1"}}},
		{Name: "ops", Clients: []directory.Client{{Issuer: "okta", ID: "0oa2"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	roles[0] = "changed"
	if c, ok := d.Consumer("acme"); !ok || c.Name != "acme" || c.Roles[0] != "partner" {
		t.Errorf("consumer acme: %+v", c)
	}
	if r, code := key(d, "new"); code != fault.None || r.Consumer.Name != "acme" || !r.Expires.Equal(expires) {
		t.Errorf("new key: %+v", r)
	}
	if r, code := key(d, "old"); code != fault.None || !r.Expires.IsZero() {
		t.Errorf("old key: %+v", r)
	}
	if c, ok := d.Client("okta", "0oa2"); !ok || c.Name != "ops" {
		t.Errorf("client 0oa2: %+v", c)
	}
	for what, known := range map[string]bool{
		"a client of another issuer": found(d.Client("corp", "0oa2")),
		"a key nobody has":           found(known(d, "")),
		"a consumer nobody wrote":    found(d.Consumer("okta/0oa1")),
		"the empty name":             found(d.Consumer("")),
	} {
		if known {
			t.Errorf("%s was found", what)
		}
	}
}

func known(d *directory.Directory, text string) (exchange.KeyRecord, bool) {
	r, code := key(d, text)
	return r, code != fault.KeyUnknown
}

func found[T any](_ T, ok bool) bool { return ok }

func TestZeroDirectoryKnowsNobody(t *testing.T) {
	t.Parallel()
	for _, d := range []*directory.Directory{nil, {}} {
		if found(d.Consumer("a")) || found(d.Client("a", "b")) || found(known(d, "")) {
			t.Error("somebody was found")
		}
	}
}

func TestEveryProblemOfADirectoryIsTold(t *testing.T) {
	t.Parallel()
	twice := digest("twice")
	_, err := directory.New([]directory.Consumer{
		{Name: "first", Keys: []directory.Key{{Digest: twice}}, Clients: []directory.Client{{Issuer: "okta", ID: "1"}}},
		{Name: "second", Keys: []directory.Key{{Digest: twice}, {}},
			Clients: []directory.Client{{Issuer: "okta", ID: "1"}, {Issuer: "okta"}, {ID: "1"}}},
		{Name: "first"},
		{},
	})
	var problems directory.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error %v", err)
	}
	want := []struct{ consumer, path, text string }{
		{"second", "apiKeys[0].hash", "consumer first"},
		{"second", "apiKeys[1].hash", "needs a hash"},
		{"second", "clients[0]", "consumer first"},
		{"second", "clients[1]", "both"},
		{"second", "clients[2]", "both"},
		{"first", "", "two consumers"},
		{"", "", "needs a name"},
	}
	if len(problems) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(problems), len(want), err)
	}
	for i, w := range want {
		if p := problems[i]; p.Consumer != w.consumer || p.Path != w.path || !strings.Contains(p.Text, w.text) {
			t.Errorf("problem %d: %+v, want %+v", i, p, w)
		}
	}
	if s := err.Error(); !strings.Contains(s, "consumers.second.clients[0]: client 1 of issuer okta is already consumer first") || !strings.Contains(s, "consumers.first: there are") {
		t.Errorf("printed:\n%s", s)
	}
}
