package streams

import (
	"math/rand/v2"
	"testing"

	"github.com/segmentio/kafka-go"
)

// TestMurmur2Vectors holds the values of Kafka's UtilsTest.testMurmur2.
func TestMurmur2Vectors(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionOfAsKafkaGo(t *testing.T) {
	b := kafka.Murmur2Balancer{Consistent: true}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		key := make([]byte, rng.IntN(40))
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
		parts := make([]int, 1+rng.IntN(64))
		for i := range parts {
			parts[i] = i
		}
		if got, want := PartitionOf(key, len(parts)), b.Balance(kafka.Message{Key: key}, parts...); got != want {
			t.Fatalf("PartitionOf(%x, %d) = %d, want %d", key, len(parts), got, want)
		}
	}
	key := []byte("a key of some length")
	if n := testing.AllocsPerRun(100, func() { PartitionOf(key, 8) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
