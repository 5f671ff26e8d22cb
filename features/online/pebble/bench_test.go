package pebble

import (
	"testing"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
)

func BenchmarkStore(b *testing.B) {
	onlinetest.Benchmark(b, func(b *testing.B) online.Store {
		s, err := Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return s
	})
}
