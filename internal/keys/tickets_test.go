package keys_test

import (
	"slices"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
)

func TestTicketKeysTakeTurnsAndAreForgotten(t *testing.T) {
	t.Parallel()
	var all keys.Tickets
	now := time.Now()
	first, until := all.At(now)
	if same, _ := all.At(until.Add(-1)); len(first) != 1 || !slices.Equal(first, same) {
		t.Fatalf("%d keys, then %d", len(first), len(same))
	}
	second, until2 := all.At(until)
	if len(second) != 2 || second[1] != first[0] || second[0] == first[0] {
		t.Fatal("the key before is not kept beside a new one")
	}
	third, until3 := all.At(until2)
	fourth, until4 := all.At(until3)
	if len(third) != 3 || len(fourth) != 3 || slices.Contains(fourth, first[0]) {
		t.Fatalf("%d and %d keys; the first is forgotten: %v", len(third), len(fourth), !slices.Contains(fourth, first[0]))
	}
	if turn := until4.Sub(until3); turn < time.Hour || turn > 24*time.Hour {
		t.Errorf("a key seals for %v", turn)
	}
	late, _ := all.At(until4.Add(7 * 24 * time.Hour))
	if len(late) != 1 || slices.Contains(fourth, late[0]) {
		t.Error("keys of long ago open tickets")
	}
	var other keys.Tickets
	if foreign, _ := other.At(now); foreign[0] == first[0] || foreign[0] == [32]byte{} {
		t.Error("two listeners seal with one key")
	}
}
