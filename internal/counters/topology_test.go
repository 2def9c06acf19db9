package counters_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/counters"
)

// Three masters of a cluster: what is decided at once lives in one slot, what
// occurs once is spread.
func TestAClusterDecidesAsOneServerDoes(t *testing.T) {
	t.Parallel()
	var nodes []*server
	var hosts []string
	for range 3 {
		// The port of the cluster's bus is by default 10000 further, which may
		// be no port.
		s := redis(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(freePort(t)), "--cluster-node-timeout", "2000")
		nodes, hosts = append(nodes, s), append(hosts, s.address())
	}
	if out := nodes[0].cli(append([]string{"--cluster-yes", "--cluster", "create"}, hosts...)...); !strings.Contains(out, "All 16384 slots covered") {
		t.Fatalf("redis-cli --cluster create:\n%s", out)
	}
	for _, n := range nodes {
		eventually(t, "the cluster is whole", func() bool { return strings.Contains(n.cli("cluster", "info"), "cluster_state:ok") })
	}
	r, _ := remote(t, "redis+cluster://"+strings.Join(hosts, ","))
	suite(t, r)
	// Found through any one of them.
	other, _ := remote(t, "redis+cluster://"+hosts[2])
	limit := charge("shared", time.Hour, 300)
	if passed := fleet(t, []*counters.Remote{r, other}, 8, 80, func(i int) []counters.Charge {
		return []counters.Charge{limit, charge(fmt.Sprint("own ", i), time.Hour, 1000)}
	}); passed != 300 {
		t.Errorf("%d calls passed, the limit is 300", passed)
	}
	for i, n := range nodes {
		if strings.TrimSpace(n.cli("--scan", "--pattern", "warder:once:*")) == "" {
			t.Errorf("node %d holds nothing of what occurs once", i)
		}
	}
}

// A master with a replica under one sentinel: when the master dies, limits are
// counted by its successor.
func TestSentinelsLeadToTheNewMaster(t *testing.T) {
	t.Parallel()
	master := redis(t)
	replica := redis(t, "--replicaof", "127.0.0.1", fmt.Sprint(master.port), "--repl-diskless-sync-delay", "0")
	eventually(t, "the replica follows", func() bool { return strings.Contains(replica.cli("info", "replication"), "master_link_status:up") })
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n", master.port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	watch := &server{port: freePort(t)}
	watch.args = []string{conf, "--sentinel", "--bind", "127.0.0.1", "--port", fmt.Sprint(watch.port), "--dir", filepath.Dir(conf)}
	watch.start(t)
	t.Cleanup(watch.kill)
	eventually(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(watch.cli("sentinel", "replicas", "main"), fmt.Sprint(replica.port))
	})

	r, log := remote(t, "redis+sentinel://"+watch.address()+"/main")
	limit := charge("x", time.Hour, 5)
	for range 3 {
		take(t, r, time.Now(), limit)
	}
	// What a master has not passed on is lost with it: wait until it has.
	eventually(t, "the replica has the count", func() bool { return strings.Contains(replica.cli("--scan"), "warder:{limits}:") })
	master.kill()
	eventually(t, "limits are counted by the new master", func() bool {
		take(t, r, time.Now(), charge("other", time.Microsecond, 1000))
		return r.Reachable() && log.count("limits are counted by") == 2
	})
	if _, states := take(t, r, time.Now(), limit); states[0].Remaining != 1 {
		t.Errorf("%d calls left, want 1 of 5 after 4", states[0].Remaining)
	}
}
