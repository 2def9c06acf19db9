package store_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
)

var kills = flag.Int("kills", 5, "how often TestAKilledProcessLosesNothingItAcknowledged kills, per engine")

// writerVariable makes the test binary a process that writes and acknowledges
// until it is killed: see TestMain.
const writerVariable = "WARDER_TEST_STORE_WRITER"

// writeForEver commits pairs of records and prints the number of each pair
// once the store has acknowledged it.
func writeForEver(args string) {
	address, rest, _ := strings.Cut(args, "\n")
	folder, prefix, _ := strings.Cut(rest, "\n")
	s, err := store.Open(context.Background(), store.Config{Address: secret.New([]byte(address)), Folder: folder, Patience: soon})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%06d", prefix, i)
		_, err := s.Commit(context.Background(), store.Create(store.Record{Kind: "left", ID: id, Body: []byte(id)}), store.Create(store.Record{Kind: "right", ID: id, Alias: id}))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

func TestAKilledProcessLosesNothingItAcknowledged(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		random := rand.New(rand.NewPCG(1, 2))
		acknowledged := map[string]bool{}
		for round := range *kills {
			prefix := fmt.Sprintf("%03d", round)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), writerVariable+"="+p.address+"\n"+p.folder+"\n"+prefix)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// What it printed before it died counts, also what is read after.
			after := 1 + random.IntN(40)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if !strings.HasPrefix(lines.Text(), prefix+"-") {
					t.Error("the writer says:", lines.Text())
					break
				}
				acknowledged[lines.Text()] = true
				if after--; after == 0 {
					cmd.Process.Kill()
				}
			}
			cmd.Process.Kill()
			cmd.Wait()
		}
		s := p.open(t)
		var have copyOf
		have.load(t, s, "left", "right")
		left, right := 0, 0
		for _, r := range have.records {
			switch r.Kind {
			case "left":
				left++
			case "right":
				right++
			}
		}
		for id := range acknowledged {
			if string(have.records["left/"+id].Body) != id || have.records["right/"+id].Alias != id {
				t.Errorf("%s was acknowledged and is not whole", id)
			}
		}
		if left != right {
			t.Errorf("a commit is torn: %d on the left, %d on the right", left, right)
		}
		if len(acknowledged) < *kills {
			t.Errorf("only %d writes in %d rounds", len(acknowledged), *kills)
		}
		report, err := s.Check(t.Context())
		wants(t, err, nil)
		same(t, report.Problems, []string{})
	})
}
