package redis

import (
	"testing"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

func BenchmarkStore(b *testing.B) {
	onlinetest.Benchmark(b, func(b *testing.B) online.Store {
		server := onlinetest.StartRedis(b, "--appendonly", "yes")
		s, err := Open(b.Context(), Options{Addresses: []string{server.Addr}})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return s
	})
}
