package redis

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online/onlinetest"
)

const allSlots = 16384

// A cluster is one of a test's own, so that it can kill nodes: the masters, and
// then the replicas of each, in the same order.
type cluster struct {
	masters int
	nodes   []*onlinetest.Redis
}

func newCluster(t *testing.T, masters, replicas int, more ...string) *cluster {
	t.Helper()
	c := &cluster{masters: masters}
	var bus []string
	for range masters * (1 + replicas) {
		bus = append(bus, freePort(t))
		args := append([]string{"--cluster-enabled", "yes", "--cluster-port", bus[len(bus)-1], "--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"}, more...)
		c.nodes = append(c.nodes, onlinetest.StartRedis(t, args...))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ids := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		admin := client(t, node)
		id, err := admin.Do(t.Context(), "CLUSTER", "MYID").Text()
		must(err)
		ids[i] = id
		must(admin.Do(t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i < masters {
			must(admin.ClusterAddSlotsRange(t.Context(), i*allSlots/masters, (i+1)*allSlots/masters-1).Err())
		}
		if i > 0 {
			host, port, _ := net.SplitHostPort(c.nodes[0].Addr)
			must(admin.Do(t.Context(), "CLUSTER", "MEET", host, port, bus[0]).Err())
		}
	}
	for i := masters; i < len(c.nodes); i++ {
		admin, master := client(t, c.nodes[i]), ids[i%masters]
		waitFor(t, "a replica to know its master", func() bool {
			return admin.ClusterReplicate(t.Context(), master).Err() == nil
		})
	}
	c.wait(t)
	return c
}

// wait waits until each node knows each other and its role, and each replica has
// what its master has.
func (c *cluster) wait(t *testing.T) {
	t.Helper()
	for i, node := range c.nodes {
		admin := client(t, node)
		waitFor(t, "the cluster", func() bool {
			if !strings.Contains(admin.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
				return false
			}
			roles := make(map[string]int)
			for line := range strings.Lines(admin.ClusterNodes(t.Context()).Val()) {
				roles[strings.TrimPrefix(strings.Fields(line)[2], "myself,")]++
			}
			synced := i < c.masters || strings.Contains(admin.Info(t.Context(), "replication").Val(), "master_link_status:up")
			return roles["master"] == c.masters && roles["slave"] == len(c.nodes)-c.masters && synced
		})
	}
}

// flush empties every master.
func flush(t *testing.T, c *redis.ClusterClient) {
	t.Helper()
	err := c.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	if err != nil {
		t.Fatal(err)
	}
}
