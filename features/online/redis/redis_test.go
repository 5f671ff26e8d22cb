package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

// snapshotPlace is a server that keeps what it last saved.
type snapshotPlace struct {
	server *onlinetest.Redis
	ttl    time.Duration
	store  *Store
}

func (p *snapshotPlace) Open(t *testing.T) online.Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Addresses: []string{p.server.Addr}, TTL: p.ttl})
	if err != nil {
		t.Fatal(err)
	}
	p.store = s
	return s
}

func (p *snapshotPlace) Save(t *testing.T) {
	t.Helper()
	if err := p.store.client.Do(context.Background(), "SAVE").Err(); err != nil {
		t.Fatal(err)
	}
}

func (p *snapshotPlace) Crash(t *testing.T) {
	t.Helper()
	p.server.Kill()
	p.server.Start(t)
}

func TestSnapshots(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprint("ttl ", ttl), func(t *testing.T) {
			onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
				return &snapshotPlace{server: onlinetest.StartRedis(t), ttl: ttl}
			})
		})
	}
}

// logPlace is a server with an append-only file that loses its end in a crash,
// within a record or between two.
type logPlace struct {
	snapshotPlace
	random *rand.Rand
	saved  int64 // bytes of the log that a crash leaves
}

func (p *logPlace) log(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.server.Dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("append-only files: %v, %v", files, err)
	}
	return files[0]
}

func (p *logPlace) size(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(p.log(t))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// Save needs nothing but to know: the server writes its log before it answers.
func (p *logPlace) Save(t *testing.T) {
	t.Helper()
	p.saved = p.size(t)
}

func (p *logPlace) Crash(t *testing.T) {
	t.Helper()
	p.server.Kill()
	log := p.log(t)
	if err := os.Truncate(log, p.saved+p.random.Int64N(p.size(t)-p.saved+1)); err != nil {
		t.Fatal(err)
	}
	p.server.Start(t)
	// The rewrite that the package's documentation asks for after a cut log.
	c := redis.NewClient(&redis.Options{Addr: p.server.Addr})
	defer c.Close()
	if err := c.BgRewriteAOF(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the rewrite of the log", func() bool {
		_, err := os.Stat(log)
		return os.IsNotExist(err)
	})
	p.saved = 0
}

func TestAppendOnlyFile(t *testing.T) {
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		server := onlinetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
		return &logPlace{snapshotPlace: snapshotPlace{server: server}, random: rand.New(rand.NewPCG(5, 6))}
	})
}

// clusterPlace is a cluster of one node, which refuses commands whose keys are
// not of one slot. It takes seconds to come up, so it stays up for all tests
// and a crash ends the connections only.
type clusterPlace struct{ snapshotPlace }

func (p *clusterPlace) Save(*testing.T) {}

func (p *clusterPlace) Crash(t *testing.T) { p.store.Close() }

func TestCluster(t *testing.T) {
	server := startCluster(t)
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		p := &clusterPlace{snapshotPlace{server: server}}
		p.Open(t)
		defer p.store.Close()
		c, ok := p.store.client.(*redis.ClusterClient)
		if !ok {
			t.Fatal("the cluster was not recognised")
		}
		err := c.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
}

func startCluster(t *testing.T) *onlinetest.Redis {
	t.Helper()
	server := onlinetest.StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-node-timeout", "1000")
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer c.Close()
	if err := c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the cluster", func() bool {
		info, err := c.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	return server
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20s for %s", what)
		}
	}
}
