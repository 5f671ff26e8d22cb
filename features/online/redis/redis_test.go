package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
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
	p.rewrite(t)
	p.saved = 0
}

// rewrite is what the package's documentation asks for after a cut log.
func (p *logPlace) rewrite(t *testing.T) {
	t.Helper()
	log := p.log(t)
	c := redis.NewClient(&redis.Options{Addr: p.server.Addr})
	defer c.Close()
	if err := c.BgRewriteAOF(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the rewrite of the log", func() bool {
		_, err := os.Stat(log)
		return os.IsNotExist(err)
	})
}

var withLog = []string{"--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"}

func newLogPlace(server *onlinetest.Redis) *logPlace {
	return &logPlace{snapshotPlace: snapshotPlace{server: server}, random: rand.New(rand.NewPCG(5, 6))}
}

func TestAppendOnlyFile(t *testing.T) {
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place { return newLogPlace(onlinetest.StartRedis(t, withLog...)) })
}

// clusterPlace is a cluster, which refuses commands whose keys are not of one
// slot. It takes seconds to come up, so it stays up for all tests and a crash
// ends the connections only.
type clusterPlace struct {
	options Options
	store   *Store
}

func (p *clusterPlace) Open(t *testing.T) online.Store {
	t.Helper()
	p.store = mustOpen(t, p.options)
	return p.store
}

func (p *clusterPlace) Save(*testing.T) {}

func (p *clusterPlace) Crash(*testing.T) { p.store.Close() }

func TestCluster(t *testing.T) {
	o := Options{Addresses: []string{newCluster(t, 3, 0).nodes[1].Addr}}
	admin := redis.NewClusterClient(o.clusterOptions())
	defer admin.Close()
	onlinetest.Run(t, func(t *testing.T) onlinetest.Place {
		flush(t, admin)
		return &clusterPlace{options: o}
	})
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
