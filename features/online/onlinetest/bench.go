package onlinetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/features/online"
)

// Benchmark measures commits and reads of rows of several sizes, with the CPU
// time of this process a row. Rows are words as those of a view: small counts
// and sums of prices.
func Benchmark(b *testing.B, open func(b *testing.B) online.Store) {
	for _, size := range []struct{ head, base int }{{200, 0}, {400, 800}, {800, 8000}} {
		name := fmt.Sprintf("rows of %d+%d bytes", size.head, size.base)
		b.Run("commit 1000 "+name, func(b *testing.B) { benchCommit(b, open(b), 1000, size.head, size.base) })
		b.Run("commit 4000 "+name, func(b *testing.B) { benchCommit(b, open(b), 4000, size.head, size.base) })
		b.Run("read 100 "+name, func(b *testing.B) { benchRead(b, open(b), size.head, size.base) })
	}
}

const benchShards, benchEntities = 8, 20_000 // entities of each shard

// words fills a part as a row has it: tiles of a count and three sums.
func words(random *rand.Rand, size int) []byte {
	part := make([]byte, 0, size)
	for len(part)+32 <= size {
		part = binary.LittleEndian.AppendUint64(part, random.Uint64N(50))
		for range 3 {
			part = binary.LittleEndian.AppendUint64(part, uint64(random.Uint32())<<20)
		}
	}
	return part[:len(part):len(part)]
}

func benchCommit(b *testing.B, s online.Store, rows, head, base int) {
	random := rand.New(rand.NewPCG(1, 1))
	heads, bases := make([][]byte, 64), make([][]byte, 64)
	for i := range heads {
		heads[i], bases[i] = words(random, head), words(random, base)
	}
	var tokens [benchShards]online.Token
	before := cpuTime(b)
	for n := 0; b.Loop(); n++ {
		index := n % benchShards
		c := newCommit(online.Shard{Space: "view-0123456789abcdef", Index: index}, tokens[index], int64(n))
		first := random.IntN(benchEntities)
		for i := range rows {
			w := online.Write{Entity: fmt.Sprint("entity-", (first+i)%benchEntities), Head: heads[(n+i)%64], KeepBase: true}
			if i%16 == 0 && base > 0 { // one row in sixteen closes a tile
				w.Base, w.KeepBase = bases[(n+i)%64], false
			}
			c.Writes = append(c.Writes, w)
		}
		if err := s.Commit(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		tokens[index] = c.Next
	}
	report(b, rows, before)
}

func benchRead(b *testing.B, s online.Store, head, base int) {
	random := rand.New(rand.NewPCG(1, 1))
	for index := range benchShards {
		var token online.Token
		for first := 0; first < benchEntities; first += 4000 {
			c := newCommit(online.Shard{Space: "view-0123456789abcdef", Index: index}, token, 1)
			for i := range 4000 {
				c.Writes = append(c.Writes, online.Write{Entity: fmt.Sprint("entity-", first+i), Head: words(random, head), Base: words(random, base)})
			}
			if err := s.Commit(b.Context(), c); err != nil {
				b.Fatal(err)
			}
			token = c.Next
		}
	}
	keys := make([]online.Key, 100)
	before := cpuTime(b)
	for b.Loop() {
		for i := range keys {
			keys[i] = online.Key{Shard: online.Shard{Space: "view-0123456789abcdef", Index: random.IntN(benchShards)}, Entity: fmt.Sprint("entity-", random.IntN(benchEntities))}
		}
		if _, _, err := s.Read(b.Context(), keys); err != nil {
			b.Fatal(err)
		}
	}
	report(b, len(keys), before)
}

func report(b *testing.B, rows int, before time.Duration) {
	total := float64(b.N * rows)
	b.ReportMetric(total/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/total, "cpu-ns/row")
}

// cpuTime is what this process has used so far, in all its threads.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
