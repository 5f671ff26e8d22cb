//go:build engines

package redis

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/millrace/millrace/features/online"
)

// BenchmarkVersions has commits of 200 rows and reads of 100, of 400 bytes, on
// servers with an append-only file. It tells the CPU time of a row in this
// process and in the server: the two share the machine's cores, so rows a second
// say little.
func BenchmarkVersions(b *testing.B) {
	for _, node := range versions {
		server := startVersion(b, node, "--appendonly", "yes")
		s, err := Open(b.Context(), Options{Addresses: []string{server.Addr}})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		admin := redis.NewClient(&redis.Options{Addr: server.Addr})
		defer admin.Close()
		b.Run("commit 200 "+node, func(b *testing.B) { benchCommit(b, s, admin) })
		b.Run("read 100 "+node, func(b *testing.B) { benchRead(b, s, admin) })
	}
}

const benchShards, benchEntities, benchRows = 8, 20_000, 200

func benchWrites(first int) []online.Write {
	head := bytes.Repeat([]byte("12345678"), 50)
	writes := make([]online.Write, benchRows)
	for i := range writes {
		writes[i] = online.Write{Entity: "entity-" + strconv.Itoa((first+i)%benchEntities), Head: head, KeepBase: true}
	}
	return writes
}

func benchCommit(b *testing.B, s *Store, admin *redis.Client) {
	var tokens [benchShards]online.Token
	space := fmt.Sprint("commit", rand.Uint64()) // new each time that the benchmark is sized
	run := costs(b, admin)
	for n := 0; b.Loop(); n++ {
		i := n % benchShards
		c := &online.Commit{Shard: online.Shard{Space: space, Index: i}, Expect: tokens[i], Next: online.NewToken(), Writes: benchWrites(n * 37)}
		if err := s.Commit(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		tokens[i] = c.Next
	}
	run(benchRows)
}

func benchRead(b *testing.B, s *Store, admin *redis.Client) {
	for i := range benchShards {
		in := online.Shard{Space: "read", Index: i}
		state, err := s.State(b.Context(), in)
		if err != nil {
			b.Fatal(err)
		}
		for first := 0; first < benchEntities; first += benchRows {
			c := &online.Commit{Shard: in, Expect: state.Token, Next: online.NewToken(), Writes: benchWrites(first)}
			if err := s.Commit(b.Context(), c); err != nil {
				b.Fatal(err)
			}
			state.Token = c.Next
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	keys := make([]online.Key, 100)
	run := costs(b, admin)
	for b.Loop() {
		in := online.Shard{Space: "read", Index: random.IntN(benchShards)}
		for i := range keys {
			keys[i] = online.Key{Shard: in, Entity: "entity-" + strconv.Itoa(random.IntN(benchEntities))}
		}
		if _, _, err := s.Read(b.Context(), keys); err != nil {
			b.Fatal(err)
		}
	}
	run(len(keys))
}

// costs notes what both processes have used, and returns what reports the rest.
func costs(b *testing.B, admin *redis.Client) func(rows int) {
	b.Helper()
	client, server := clientCPU(b), serverCPU(b, admin)
	return func(rows int) {
		total := float64(b.N * rows)
		b.ReportMetric(float64((clientCPU(b)-client).Nanoseconds())/total, "client-ns/row")
		b.ReportMetric(float64((serverCPU(b, admin)-server).Nanoseconds())/total, "server-ns/row")
	}
}

func clientCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func serverCPU(b *testing.B, admin *redis.Client) time.Duration {
	var total float64
	for line := range strings.Lines(admin.Info(b.Context(), "cpu").Val()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			total += seconds
		}
	}
	return time.Duration(total * float64(time.Second))
}
